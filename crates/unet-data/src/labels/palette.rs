//! Colours: those that classes are drawn in, and the packing of a colour into a number.

/// Red, green and blue of 0xRRGGBB.
pub(super) fn rgb(value: u32) -> [u8; 3] {
    let [_, r, g, b] = value.to_be_bytes();
    [r, g, b]
}

/// Colours of classes 0, 1, 2 …: black, then hues that stay apart for most kinds of colour vision (Okabe and Ito 2008), then steps
/// around the colour wheel by the golden angle.
pub(super) fn colour_of(index: usize) -> [u8; 3] {
    const NAMED: [[u8; 3]; 9] = [
        [0, 0, 0],
        [86, 180, 233],
        [230, 159, 0],
        [0, 158, 115],
        [204, 121, 167],
        [240, 228, 66],
        [213, 94, 0],
        [0, 114, 178],
        [255, 255, 255],
    ];
    NAMED.get(index).copied().unwrap_or_else(|| hue((index - NAMED.len()) as f32 * 0.381_966))
}

/// A saturated colour, `turns` around the wheel from red.
fn hue(turns: f32) -> [u8; 3] {
    let part = |shift: f32| {
        let at = ((turns + shift).fract() * 6.0 - 3.0).abs() - 1.0;
        (60.0 + 180.0 * at.clamp(0.0, 1.0)) as u8
    };
    [part(0.0), part(2.0 / 3.0), part(1.0 / 3.0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_64_colours_differ() {
        let mut colours: Vec<_> = (0..64).map(colour_of).collect();
        colours.sort_unstable();
        colours.dedup();
        assert_eq!(colours.len(), 64);
        assert_eq!(rgb(0xE0_10_C0), [0xE0, 0x10, 0xC0]);
    }
}
