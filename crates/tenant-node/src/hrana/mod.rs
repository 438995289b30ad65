//! hrana
