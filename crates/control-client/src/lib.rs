//! control-client
