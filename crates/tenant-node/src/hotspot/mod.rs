//! hotspot
