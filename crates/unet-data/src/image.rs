//! [`Image`]: the pixels of one decoded image, in the type they were stored in, interleaved (H, W, C), nothing lost but alpha.

use crate::DataError;

/// Pixel values, row-major, channels interleaved: index `(y · width + x) · channels + c`.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Pixels {
    /// 8 bits, 0–255.
    U8(Vec<u8>),
    /// 16 bits, 0–65535.
    U16(Vec<u16>),
    /// Floating point, any range.
    F32(Vec<f32>),
}

impl Pixels {
    /// How many values there are: height · width · channels.
    pub fn len(&self) -> usize {
        match self {
            Self::U8(v) => v.len(),
            Self::U16(v) => v.len(),
            Self::F32(v) => v.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Value `i` as a float, unscaled.
    pub fn get(&self, i: usize) -> Option<f32> {
        match self {
            Self::U8(v) => v.get(i).map(|&v| f32::from(v)),
            Self::U16(v) => v.get(i).map(|&v| f32::from(v)),
            Self::F32(v) => v.get(i).copied(),
        }
    }
}

/// Physical size of one pixel.
#[derive(Debug, Clone, PartialEq)]
pub struct PixelSize {
    /// Width of a pixel in `unit`.
    pub x: f64,
    /// Height of a pixel in `unit`.
    pub y: f64,
    /// The unit: `µm`, `nm`, `cm`, `inch`, or whatever the file says.
    pub unit: String,
}

impl PixelSize {
    /// Both sides in metres, where the unit is a known one.
    pub fn metres(&self) -> Option<(f64, f64)> {
        let unit = metres_of(&self.unit)?;
        Some((self.x * unit, self.y * unit))
    }

    /// Width and height of a pixel, each with its unit: in that of the width. `None` where one cannot be had in the other.
    pub(crate) fn of_sides((x, unit): (f64, String), (y, unit_down): (f64, String)) -> Option<Self> {
        let factor = if unit == unit_down { 1.0 } else { metres_of(&unit_down)? / metres_of(&unit)? };
        Some(Self { x, y: y * factor, unit })
    }
}

fn metres_of(unit: &str) -> Option<f64> {
    Some(match unit {
        "m" => 1.0,
        "dm" => 1e-1,
        "cm" => 1e-2,
        "mm" => 1e-3,
        "µm" => 1e-6,
        "nm" => 1e-9,
        "Å" => 1e-10,
        "pm" => 1e-12,
        "inch" => 0.0254,
        _ => return None,
    })
}

/// One decoded image: (H, W, C), at least one pixel and one channel, as many values as the dimensions say.
#[derive(Debug, Clone, PartialEq)]
pub struct Image {
    width: usize,
    height: usize,
    channels: usize,
    pixels: Pixels,
    alpha_dropped: bool,
    pixel_size: Option<PixelSize>,
    /// What the file says is the largest value, where its type could hold larger ones.
    most: Option<u16>,
}

impl Image {
    /// An image from its parts; `pixels` holds height · width · channels values in (H, W, C) order.
    ///
    /// # Errors
    /// [`DataError::Buffer`] where a dimension is zero or the length does not fit.
    pub fn new(width: usize, height: usize, channels: usize, pixels: Pixels) -> Result<Self, DataError> {
        let expected = width.checked_mul(height).and_then(|n| n.checked_mul(channels)).unwrap_or(usize::MAX);
        if expected == 0 || expected != pixels.len() {
            return Err(DataError::Buffer { width, height, channels, expected, found: pixels.len() });
        }
        Ok(Self { width, height, channels, pixels, alpha_dropped: false, pixel_size: None, most: None })
    }

    /// Width in pixels.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Height in pixels.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Values per pixel: 1 gray, 3 RGB, or any other number.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// The values in their stored type.
    pub fn pixels(&self) -> &Pixels {
        &self.pixels
    }

    /// Bits per value: 8, 16 or 32 (floating point).
    pub fn bit_depth(&self) -> u32 {
        match self.pixels {
            Pixels::U8(_) => 8,
            Pixels::U16(_) => 16,
            Pixels::F32(_) => 32,
        }
    }

    /// The largest value that there can be: what the file says it is (PNM), else that of the stored type, 255, 65535, or 1 for floating
    /// point, whose unit is its own.
    pub fn max_value(&self) -> f32 {
        match (&self.pixels, self.most) {
            (Pixels::F32(_), _) => 1.0,
            (_, Some(most)) => most.into(),
            (Pixels::U8(_), None) => 255.0,
            (Pixels::U16(_), None) => 65535.0,
        }
    }

    /// Whether the file had an alpha channel that was left out (the note a caller may show).
    pub fn alpha_dropped(&self) -> bool {
        self.alpha_dropped
    }

    /// Physical size of a pixel, where the file says so.
    pub fn pixel_size(&self) -> Option<&PixelSize> {
        self.pixel_size.as_ref()
    }

    /// The same image with that physical size of a pixel, or with none.
    pub fn with_pixel_size(self, pixel_size: Option<PixelSize>) -> Self {
        Self { pixel_size, ..self }
    }

    /// The same image, whose largest value is said to be that; one of floating point stays as it is.
    pub fn with_max_value(self, most: u16) -> Self {
        let of_type = match self.pixels {
            Pixels::U8(_) => 255,
            Pixels::U16(_) | Pixels::F32(_) => 65535,
        };
        Self { most: (most < of_type).then_some(most), ..self }
    }

    /// The raw values as floats, (H, W, C), unscaled.
    pub fn to_f32(&self) -> Vec<f32> {
        match &self.pixels {
            Pixels::U8(v) => v.iter().map(|&v| f32::from(v)).collect(),
            Pixels::U16(v) => v.iter().map(|&v| f32::from(v)).collect(),
            Pixels::F32(v) => v.clone(),
        }
    }

    /// Bytes that the pixels take in memory.
    pub fn bytes(&self) -> usize {
        self.pixels.len() * (self.bit_depth() as usize / 8)
    }

    /// The rows from `first` on, `count` of them.
    ///
    /// # Errors
    /// [`DataError::Buffer`] where there are none, or not so many.
    pub fn rows(&self, first: usize, count: usize) -> Result<Self, DataError> {
        let row = self.width * self.channels;
        let end = first.saturating_add(count).min(self.height);
        let range = first.min(end) * row..end * row;
        let pixels = match &self.pixels {
            Pixels::U8(v) => Pixels::U8(v[range].to_vec()),
            Pixels::U16(v) => Pixels::U16(v[range].to_vec()),
            Pixels::F32(v) => Pixels::F32(v[range].to_vec()),
        };
        let rows = Self::new(self.width, count, self.channels, pixels)?;
        Ok(Self { alpha_dropped: self.alpha_dropped, pixel_size: self.pixel_size.clone(), most: self.most, ..rows })
    }

    /// The same image without its last channel (alpha); one of a single channel is returned as it is.
    pub(crate) fn drop_alpha(self) -> Self {
        if self.channels < 2 {
            return self;
        }
        let c = self.channels;
        let pixels = match &self.pixels {
            Pixels::U8(v) => Pixels::U8(without_last(v, c)),
            Pixels::U16(v) => Pixels::U16(without_last(v, c)),
            Pixels::F32(v) => Pixels::F32(without_last(v, c)),
        };
        Self { channels: c - 1, pixels, alpha_dropped: true, ..self }
    }
}

fn without_last<T: Copy>(values: &[T], channels: usize) -> Vec<T> {
    values.chunks_exact(channels).flat_map(|p| p.iter().take(channels - 1).copied()).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_of_the_wrong_length_is_refused() {
        let e = Image::new(3, 2, 1, Pixels::U8(vec![0; 5])).unwrap_err();
        assert!(matches!(e, DataError::Buffer { expected: 6, found: 5, .. }));
        assert!(Image::new(0, 2, 1, Pixels::U8(vec![])).is_err());
        assert!(Image::new(usize::MAX, 3, 1, Pixels::U8(vec![0])).is_err());
    }

    #[test]
    fn rows_are_cut_out_and_missing_ones_refused() {
        let image = Image::new(2, 3, 1, Pixels::U16(vec![1, 2, 3, 4, 5, 6])).unwrap();
        assert_eq!(image.rows(1, 2).unwrap().pixels(), &Pixels::U16(vec![3, 4, 5, 6]));
        assert!(image.rows(2, 2).is_err() && image.rows(3, 1).is_err() && image.rows(0, 0).is_err());
        assert!(image.rows(usize::MAX, 2).is_err());
    }

    #[test]
    fn dropping_alpha_keeps_the_colours_and_says_so() {
        let rgba = Image::new(2, 1, 4, Pixels::U8(vec![1, 2, 3, 255, 4, 5, 6, 0])).unwrap();
        let rgb = rgba.drop_alpha();
        assert_eq!(rgb.pixels(), &Pixels::U8(vec![1, 2, 3, 4, 5, 6]));
        assert_eq!(rgb.channels(), 3);
        assert!(rgb.alpha_dropped());
    }
}
