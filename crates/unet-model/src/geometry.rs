//! Sizes as plain numbers: which inputs the network takes, how large each level is, what the decoder pads, how far a pixel sees.
//! Takes a configuration and a size, yields numbers, so that who tiles and pads images need not know the network.

use crate::ModelError;
use crate::config::UNetConfig;

/// A height and a width in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Size {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl Size {
    /// Of that many rows and columns.
    pub const fn new(height: usize, width: usize) -> Self {
        Self { height, width }
    }

    /// What a 2×2 max-pool leaves: an odd last row or column is dropped.
    pub const fn halved(self) -> Self {
        Self::new(self.height / 2, self.width / 2)
    }
}

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}×{}", self.height, self.width)
    }
}

/// Zeros around an upsampled map that is smaller than its skip connection, in pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Padding {
    /// Rows above.
    pub top: usize,
    /// Rows below.
    pub bottom: usize,
    /// Columns to the left.
    pub left: usize,
    /// Columns to the right.
    pub right: usize,
}

impl Padding {
    /// Centres `small` in `large`; an odd rest goes below and to the right, as in `milesial/Pytorch-UNet`. `None` if it is too big.
    pub fn centring(small: Size, large: Size) -> Option<Self> {
        let rows = large.height.checked_sub(small.height)?;
        let columns = large.width.checked_sub(small.width)?;
        let (top, left) = (rows / 2, columns / 2);
        Some(Self { top, bottom: rows - top, left, right: columns - left })
    }
}

/// The least height and width that the network takes, 2^depth: the deepest level then has one pixel.
pub const fn min_extent(config: &UNetConfig) -> usize {
    1 << config.depth
}

/// Heights and widths that are multiples of this, 2^depth, halve evenly at each level: nothing is dropped or padded.
pub const fn even_multiple(config: &UNetConfig) -> usize {
    1 << config.depth
}

/// How many pixels an input has on each side beyond the logits: none with padding; without it 92 at the paper's depth of 4.
pub const fn margin(config: &UNetConfig) -> usize {
    let period = 1 << config.depth;
    // Two convolutions take 2 pixels off each side at every level, which count 2^level at full size, and on the way up once more.
    if config.options.valid { 2 * period + 4 * (period - 1) } else { 0 }
}

/// The least side of logits, at least `side`, that the network can give. Without padding each level has to halve evenly: at the paper's
/// depth of 4 the sides are 4, 20, 36 … 388.
pub const fn output_side(config: &UNetConfig, side: usize) -> usize {
    if !config.options.valid {
        return side;
    }
    let period = 1 << config.depth;
    let lost = 4 * (period - 1);
    (side + lost).next_multiple_of(period) - lost
}

/// The size of the logits for an input of that size: the same, or without padding less by [`margin`] on each side.
///
/// # Errors
/// A side is shorter than [`min_extent`], or without padding one that does not halve evenly.
pub fn output_size(config: &UNetConfig, input: Size) -> Result<Size, ModelError> {
    if config.options.valid {
        return valid_size(config, input);
    }
    let least = min_extent(config);
    if input.height >= least && input.width >= least {
        return Ok(input);
    }
    Err(ModelError::Input {
        expected: format!("images of at least {least}×{least} pixels, because it halves them {} times", config.depth),
        found: format!("{input} (height × width); pad the image, or use a network of less depth"),
    })
}

/// [`output_size`] without padding.
fn valid_size(config: &UNetConfig, input: Size) -> Result<Size, ModelError> {
    let lost = 2 * margin(config);
    let side = |side: usize| side.checked_sub(lost).filter(|out| *out > 0 && output_side(config, *out) == *out);
    match (side(input.height), side(input.width)) {
        (Some(height), Some(width)) => Ok(Size::new(height, width)),
        _ => {
            let fit = |side: usize| output_side(config, side.saturating_sub(lost).max(1)) + lost;
            let near = Size::new(fit(input.height), fit(input.width));
            Err(ModelError::Input {
                expected: format!("without padding sides that halve evenly {} times, as {near}", config.depth),
                found: format!("{input} (height × width)"),
            })
        }
    }
}

/// The size of each level's map with padding, from the input (level 0) to the deepest.
///
/// # Errors
/// As [`output_size`].
pub fn level_sizes(config: &UNetConfig, input: Size) -> Result<Vec<Size>, ModelError> {
    let first = output_size(config, input)?;
    Ok(std::iter::successors(Some(first), |size| Some(size.halved())).take(config.depth + 1).collect())
}

/// What the decoder pads on its return to each level, indexed by level, 0 to depth − 1.
///
/// # Errors
/// As [`output_size`].
pub fn decoder_padding(config: &UNetConfig, input: Size) -> Result<Vec<Padding>, ModelError> {
    let sizes = level_sizes(config, input)?;
    let doubled = |size: Size| Size::new(2 * size.height, 2 * size.width);
    Ok(sizes.windows(2).filter_map(|pair| Padding::centring(doubled(pair[1]), pair[0])).collect())
}

/// The side of the map that the decoder doubles on its way up from `level` (1 to depth), for an input of that side.
pub fn decoder_side(config: &UNetConfig, input: usize, level: usize) -> usize {
    if !config.options.valid {
        return input >> level;
    }
    // Each level's two convolutions take two pixels off each side, on the way down and on the way up.
    let down = (0..config.depth).fold(input, |side, _| side.saturating_sub(4) / 2);
    (level..config.depth).fold(down.saturating_sub(4), |side, _| (2 * side).saturating_sub(4))
}

/// How far, in pixels up, down, left or right, a change of one input pixel can reach in the logits; equally, how much
/// context on each side a logit can see. Exact for transposed convolutions away from the borders, an upper bound for bilinear ones.
///
/// Bilinear upsampling with aligned corners maps positions by (h−1)/(2h−1), not by ½: it depends on the size of the whole map, which a
/// tile has to be told ([`CpuPredictor::run_within`](crate::backend::cpu::CpuPredictor::run_within)). This bound holds at any size.
pub fn reach(config: &UNetConfig) -> usize {
    let period = 1i64 << config.depth;
    let far = (0..period).map(|pixel| {
        let (first, last) = seen_by(config, pixel);
        (pixel - first).max(last - pixel)
    });
    far.max().unwrap_or(0) as usize
}

/// Input pixels from the first to the last, along one axis without ends, that the logit at `pixel` sees by way of the deepest
/// level. The ways over the skip connections see less.
fn seen_by(config: &UNetConfig, pixel: i64) -> (i64, i64) {
    /// Two 3×3 convolutions.
    const BLOCK: i64 = 2;
    let bilinear = !matches!(config.upsampling, crate::Upsampling::Transposed);
    let (mut first, mut last) = (pixel - BLOCK, pixel + BLOCK);
    for _ in 0..config.depth {
        // Aligned corners: output y comes from y·(h−1)/(2h−1), which is y/2 less at most ½, and from that pixel's lower neighbour.
        (first, last) = match bilinear {
            true => ((first - 1).div_euclid(2), last.div_euclid(2) + 1),
            false => (first.div_euclid(2), last.div_euclid(2)),
        };
        // The decoder's block, or the encoder's at the deepest level.
        (first, last) = (first - BLOCK, last + BLOCK);
    }
    for _ in 0..config.depth {
        (first, last) = (2 * first - BLOCK, 2 * last + 1 + BLOCK);
    }
    (first, last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Upsampling;

    #[test]
    fn even_and_odd_sizes() -> Result<(), ModelError> {
        let config = UNetConfig::tutorial();
        let even = level_sizes(&config, Size::new(512, 32))?;
        assert_eq!(
            even.iter().map(|s| (s.height, s.width)).collect::<Vec<_>>(),
            [(512, 32), (256, 16), (128, 8), (64, 4), (32, 2)]
        );
        assert!(decoder_padding(&config, Size::new(512, 32))?.iter().all(|p| *p == Padding::default()));
        let odd = decoder_padding(&config, Size::new(33, 47))?;
        // 33 → 16 → 8 → 4 → 2, 47 → 23 → 11 → 5 → 2.
        let pads = |right, bottom| Padding { top: 0, bottom, left: 0, right };
        assert_eq!(odd, [pads(1, 1), pads(1, 0), pads(1, 0), pads(1, 0)]);
        Ok(())
    }

    #[test]
    fn an_odd_rest_goes_below_and_right() {
        let p = Padding::centring(Size::new(4, 5), Size::new(7, 7));
        assert_eq!(p, Some(Padding { top: 1, bottom: 2, left: 1, right: 1 }));
        assert_eq!(Padding::centring(Size::new(4, 5), Size::new(3, 9)), None);
    }

    #[test]
    fn small_images_are_refused_with_the_least_size() {
        let config = UNetConfig::tutorial();
        assert!(output_size(&config, Size::new(16, 16)).is_ok());
        let error = output_size(&config, Size::new(15, 400)).expect_err("too low").to_string();
        assert!(error.contains("16×16") && error.contains("15×400"), "{error}");
        assert!(output_size(&UNetConfig { depth: 1, ..config }, Size::new(2, 3)).is_ok());
    }

    #[test]
    fn the_papers_sizes_without_padding() {
        let options = crate::Options { valid: true, ..crate::Options::PLAIN };
        let config = UNetConfig { options, ..UNetConfig::tutorial() };
        assert_eq!(margin(&config), 92);
        assert_eq!(output_size(&config, Size::new(572, 572)).ok(), Some(Size::new(388, 388)));
        assert_eq!([1, 4, 5, 388, 389].map(|side| output_side(&config, side)), [4, 4, 20, 388, 404]);
        let error = output_size(&config, Size::new(572, 570)).expect_err("odd on the way").to_string();
        assert!(error.contains("572×572") && error.contains("572×570"), "{error}");
        assert!(output_size(&config, Size::new(180, 572)).is_err(), "nothing would be left");
        let shallow = UNetConfig { depth: 1, ..config };
        assert_eq!((margin(&shallow), output_side(&shallow, 3)), (8, 4));
        assert_eq!((margin(&UNetConfig::tutorial()), output_side(&UNetConfig::tutorial(), 5)), (0, 5));
    }

    #[test]
    fn what_the_decoder_doubles() {
        // The paper's figure: 28 pixels at the bottom of 572, then 52, 100 and 196 after the decoder's convolutions.
        let options = crate::Options { valid: true, ..crate::Options::PLAIN };
        let paper = UNetConfig { options, ..UNetConfig::tutorial() };
        assert_eq!([4, 3, 2, 1].map(|level| decoder_side(&paper, 572, level)), [28, 52, 100, 196]);
        assert_eq!([4, 3, 1].map(|level| decoder_side(&UNetConfig::tutorial(), 572, level)), [35, 71, 286]);
    }

    #[test]
    fn reach_of_known_networks() {
        // By hand, depth 1, transposed: a logit at pixel 1 sees −1..=3, that is −1..=1 one level below, −3..=3 after its block,
        // −6..=7 before the pool, −8..=9 in the input; at pixel 0: −2..=2, −1..=1, −3..=3, −6..=7, −8..=9.
        let config = UNetConfig { depth: 1, upsampling: Upsampling::Transposed, ..UNetConfig::tutorial() };
        assert_eq!(reach(&config), 9);
        // Each level more, at least twice as far.
        let reaches: Vec<_> = (1..=5).map(|depth| reach(&UNetConfig { depth, ..UNetConfig::tutorial() })).collect();
        assert!(reaches.windows(2).all(|r| r[1] > 2 * r[0]), "{reaches:?}");
    }
}
