//! [`MaskValue`]: one value of a mask as people write it, `255` or `#e0e0c0`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::DataError;

/// A gray value, or a colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum MaskValue {
    /// A gray value, 0–65535.
    Gray(u32),
    /// Red, green, blue.
    Rgb([u8; 3]),
}

impl MaskValue {
    /// The value in gray masks; a colour whose parts are equal is that gray.
    pub(super) fn as_gray(self) -> Option<f64> {
        match self {
            Self::Gray(v) => Some(f64::from(v)),
            Self::Rgb([r, g, b]) => (r == g && g == b).then(|| f64::from(r)),
        }
    }

    /// 0xRRGGBB; a gray value of 8 bits is that gray.
    pub(super) fn as_rgb(self) -> Option<u32> {
        match self {
            Self::Gray(v) => (v < 256).then(|| v * 0x01_0101),
            Self::Rgb([r, g, b]) => Some(u32::from_be_bytes([0, r, g, b])),
        }
    }
}

/// Whether a value can stand for a class in a mask file.
pub(super) fn is_label(v: f64) -> bool {
    (0.0..=65535.0).contains(&v) && v.fract() == 0.0
}

impl fmt::Display for MaskValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gray(v) => write!(f, "{v}"),
            Self::Rgb([r, g, b]) => write!(f, "#{r:02x}{g:02x}{b:02x}"),
        }
    }
}

impl FromStr for MaskValue {
    type Err = DataError;

    fn from_str(text: &str) -> Result<Self, DataError> {
        let parsed = match text.trim().strip_prefix('#') {
            Some(hex) if hex.len() == 6 => u32::from_str_radix(hex, 16).ok().map(|v| Self::Rgb(super::palette::rgb(v))),
            Some(_) => None,
            None => text.trim().parse().ok().filter(|&v| v <= 65535).map(Self::Gray),
        };
        parsed.ok_or_else(|| {
            DataError::config(
                "mask value",
                format!("{text:?}"),
                "a number from 0 to 65535, or a colour such as #e0e0c0",
            )
        })
    }
}

impl TryFrom<String> for MaskValue {
    type Error = DataError;

    fn try_from(text: String) -> Result<Self, DataError> {
        text.parse()
    }
}

impl From<MaskValue> for String {
    fn from(value: MaskValue) -> Self {
        value.to_string()
    }
}
