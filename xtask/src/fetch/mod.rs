//! Fetching.
pub mod manifest;
pub mod sha256;
