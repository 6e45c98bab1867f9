//! [`overlay`]: a segmentation drawn over its image, to look at.

use unet_data::{Image, Pixels};

use crate::TrainError;

/// Colours of classes 1, 2, …; class 0 stays gray.
const PALETTE: [[f32; 3]; 8] = [
    [64.0, 160.0, 255.0],
    [255.0, 150.0, 40.0],
    [90.0, 210.0, 110.0],
    [225.0, 90.0, 200.0],
    [245.0, 220.0, 60.0],
    [120.0, 110.0, 235.0],
    [80.0, 215.0, 215.0],
    [190.0, 140.0, 100.0],
];
const OUTLINE: [f32; 3] = [255.0, 225.0, 60.0];
const WRONG: [f32; 3] = [255.0, 40.0, 40.0];

/// The image in gray, classes above 0 tinted, borders between classes in yellow; with the `truth`, wrong pixels in red. Yields 8-bit RGB.
///
/// # Errors
/// Labels do not cover the image.
pub fn overlay(image: &Image, labels: &[u8], truth: Option<&[u8]>) -> Result<Image, TrainError> {
    draw(image, range_of(image), labels, None, truth)
}

/// Overlays of an image that is drawn some rows at a time: the same pixels as of the whole.
#[derive(Debug)]
pub(super) struct OverlayRows {
    /// Values to show as black and white.
    range: Option<(f32, f32)>,
    /// The labels of the row above.
    above: Option<Vec<u8>>,
}

impl OverlayRows {
    /// For the image whose values lie in `range`, as [`range_of`] finds it.
    pub fn new(range: Option<(f32, f32)>) -> Self {
        Self { range, above: None }
    }

    /// The next rows.
    pub fn next(&mut self, image: &Image, labels: &[u8]) -> Result<Image, TrainError> {
        let drawn = draw(image, self.range, labels, self.above.as_deref(), None)?;
        self.above = Some(labels[labels.len().saturating_sub(image.width())..].to_vec());
        Ok(drawn)
    }
}

fn draw(
    image: &Image,
    range: Option<(f32, f32)>,
    labels: &[u8],
    above: Option<&[u8]>,
    truth: Option<&[u8]>,
) -> Result<Image, TrainError> {
    let (w, h) = (image.width(), image.height());
    let gray = gray_of(image, range);
    let mut rgb = Vec::with_capacity(gray.len() * 3);
    for (p, &g) in gray.iter().enumerate() {
        let Some(&label) = labels.get(p) else { break };
        let (x, y) = (p % w, p / w);
        let over = if y > 0 { labels.get(p - w) } else { above.and_then(|row| row.get(x)) };
        let border = (x + 1 < w && labels.get(p + 1) != Some(&label)) || over.is_some_and(|over| *over != label);
        let (colour, share) = match truth {
            Some(t) if t.get(p) != Some(&label) && t.get(p) != Some(&unet_data::IGNORE) => (WRONG, 0.6),
            _ if border => (OUTLINE, 0.8),
            _ if label > 0 => (PALETTE[(usize::from(label) - 1) % PALETTE.len()], 0.25),
            _ => ([0.0; 3], 0.0),
        };
        rgb.extend(colour.map(|c| (g + share * (c - g)).round() as u8));
    }
    Ok(Image::new(w, h, 3, Pixels::U8(rgb))?)
}

/// The mean of the channels, 0–255: 8 bits that reach 255 as they are, others stretched between their least and largest value.
pub(super) fn gray(image: &Image) -> Vec<f32> {
    gray_of(image, range_of(image))
}

/// Least and largest mean of the channels; nothing of 8 bits that reach 255, which are shown as they are.
pub(super) fn range_of(image: &Image) -> Option<(f32, f32)> {
    let means = || means(image).into_iter().filter(|v| v.is_finite());
    (image.max_value() != 255.0)
        .then(|| (means().fold(f32::INFINITY, f32::min), means().fold(f32::NEG_INFINITY, f32::max)))
}

fn gray_of(image: &Image, range: Option<(f32, f32)>) -> Vec<f32> {
    let mut gray = means(image);
    if let Some((least, most)) = range {
        let scale = if most > least { 255.0 / (most - least) } else { 0.0 };
        gray.iter_mut().for_each(|v| *v = if v.is_finite() { (*v - least) * scale } else { 0.0 });
    }
    gray
}

fn means(image: &Image) -> Vec<f32> {
    let c = image.channels();
    image.to_f32().chunks_exact(c).map(|p| p.iter().sum::<f32>() / c as f32).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn bytes(image: &Image) -> &[u8] {
        match image.pixels() {
            Pixels::U8(v) => v,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn background_stays_gray_borders_and_errors_are_marked() {
        let image = Image::new(3, 1, 1, Pixels::U8(vec![100; 3])).unwrap();
        let drawn = overlay(&image, &[0, 0, 1], None).unwrap();
        let v = bytes(&drawn);
        assert_eq!(v[..3], [100, 100, 100]);
        assert_eq!(v[3..6], [224, 200, 68], "a border");
        assert_eq!(v[6..], [91, 115, 139], "class 1");
        let drawn = overlay(&image, &[0, 0, 1], Some(&[1, 0, 1])).unwrap();
        assert_eq!(bytes(&drawn)[..3], [193, 64, 64], "wrong");
    }

    #[test]
    fn sixteen_bits_are_stretched_and_short_labels_refused() {
        let image = Image::new(2, 1, 1, Pixels::U16(vec![1000, 3000])).unwrap();
        assert_eq!(bytes(&overlay(&image, &[0, 0], None).unwrap()), [0, 0, 0, 255, 255, 255]);
        assert!(overlay(&image, &[0], None).is_err());
        let few = Image::new(2, 1, 1, Pixels::U8(vec![0, 3])).unwrap().with_max_value(3);
        assert_eq!(
            bytes(&overlay(&few, &[0, 0], None).unwrap()),
            [0, 0, 0, 255, 255, 255],
            "so are those of few values"
        );
    }
}
