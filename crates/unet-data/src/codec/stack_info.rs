//! What ImageJ and OME write into a TIFF beside its pixels: whether pages are channels or slices, and how large a pixel is.

use crate::image::PixelSize;

/// What a file's description says about its pages.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct StackInfo {
    /// Pages that are channels of one image; 1 where each page is one.
    pub(super) channels: usize,
    /// Images in the file, as the description counts them; 0 where it does not.
    pub(super) images: usize,
    /// From one channel of an image to the next, in pages.
    pub(super) stride: usize,
    /// Channels, slices and frames as the description counts them; none where it does not.
    pub(super) sizes: [usize; 3],
    /// These by their numbers, from the one that changes from page to page on.
    pub(super) order: [usize; 3],
    /// Physical size of a pixel where the description has it (OME).
    pub(super) pixel: Option<PixelSize>,
    /// The unit that the file's resolution across is in, and down where that is another one (ImageJ).
    pub(super) unit: Option<String>,
    pub(super) unit_down: Option<String>,
    /// Who wrote it: `ImageJ` or `OME`; empty where nobody is known.
    pub(super) writer: &'static str,
}

impl StackInfo {
    /// Reads a description, or none.
    pub(super) fn of(description: Option<&str>) -> Self {
        let text = description.unwrap_or_default();
        if text.starts_with("ImageJ=") {
            image_j(text)
        } else if text.contains("<OME") && text.contains("<Pixels") {
            ome(text)
        } else {
            Self { channels: 1, stride: 1, ..Self::default() }
        }
    }

    /// Whether the description is of so many pages. One of others was kept by a program that changed them, or is damaged.
    pub(super) fn is_of(&self, pages: usize) -> bool {
        self.images.checked_mul(self.channels) == Some(pages) && self.images.is_multiple_of(self.stride)
    }

    /// The page of channel `c` of image `i`.
    pub(super) fn page(&self, image: usize, channel: usize) -> usize {
        let (outer, inner) = (image / self.stride, image % self.stride);
        (outer * self.channels + channel) * self.stride + inner
    }
}

/// Lines of `key=value`; pages in the order channel, slice, frame.
fn image_j(text: &str) -> StackInfo {
    let value = |key: &str| text.lines().find_map(|l| l.trim().strip_prefix(key)?.strip_prefix('='));
    let number = |key: &str| value(key).and_then(|v| v.trim().parse::<usize>().ok()).filter(|&n| n > 0);
    let channels = number("channels").unwrap_or(1);
    let images = number("images").unwrap_or(0);
    let sizes = [channels, number("slices").unwrap_or(1), number("frames").unwrap_or(1)];
    let unit = |key: &str| value(key).map(unit_name).filter(|u| !u.is_empty() && u != "pixel" && u != "pixels");
    StackInfo {
        channels,
        images: images / channels,
        stride: 1,
        sizes,
        order: [0, 1, 2],
        pixel: None,
        unit: unit("unit"),
        unit_down: value("yunit").map(unit_name).filter(|u| !u.is_empty()),
        writer: "ImageJ",
    }
}

/// The attributes of the first `Pixels` element (OME schema 2016-06); channels of several samples are colours within a page.
fn ome(text: &str) -> StackInfo {
    let element = |name: &str| {
        let start = text.find(&format!("<{name} "))?;
        Some(&text[start..start + text[start..].find('>')?])
    };
    let pixels = element("Pixels").unwrap_or_default();
    let number = |key: &str| attribute(pixels, key).and_then(|v| v.parse::<usize>().ok()).filter(|&n| n > 0);
    let samples =
        element("Channel").and_then(|c| attribute(c, "SamplesPerPixel")?.parse().ok()).filter(|&n: &usize| n > 0);
    let channels = (number("SizeC").unwrap_or(1) / samples.unwrap_or(1)).max(1);
    let (z, t) = (number("SizeZ").unwrap_or(1), number("SizeT").unwrap_or(1));
    let order = attribute(pixels, "DimensionOrder").unwrap_or("XYCZT");
    let before_channels = order.split('C').next().unwrap_or_default();
    let sizes = before_channels.chars().map(|d| match d {
        'Z' => z,
        'T' => t,
        _ => 1,
    });
    let (images, stride) = (z.saturating_mul(t), sizes.fold(1, usize::saturating_mul));
    StackInfo {
        channels,
        images,
        stride,
        sizes: [channels, z, t],
        order: order_of(order),
        pixel: ome_pixel(pixels),
        writer: "OME",
        ..StackInfo::default()
    }
}

/// Channels, slices and frames in the order of OME's letters; that of ImageJ where these make no sense.
fn order_of(letters: &str) -> [usize; 3] {
    let place = |axis: char| letters.chars().position(|l| l == axis);
    let mut axes = [(place('C'), 0), (place('Z'), 1), (place('T'), 2)];
    axes.sort();
    axes.map(|(_, axis)| axis)
}

/// Each side of a pixel has a unit of its own, micrometres unless it says otherwise; nothing where one cannot be had in the other's.
fn ome_pixel(pixels: &str) -> Option<PixelSize> {
    let length =
        |key: &str| attribute(pixels, key).and_then(|v| v.parse::<f64>().ok()).filter(|v| v.is_finite() && *v > 0.0);
    let unit = |key: &str| unit_name(attribute(pixels, key).unwrap_or("µm"));
    let (x, unit_x) = (length("PhysicalSizeX")?, unit("PhysicalSizeXUnit"));
    match length("PhysicalSizeY") {
        Some(y) => PixelSize::of_sides((x, unit_x), (y, unit("PhysicalSizeYUnit"))),
        None => Some(PixelSize { x, y: x, unit: unit_x }),
    }
}

/// The value of ` key="…"` in an element.
fn attribute<'a>(element: &'a str, key: &str) -> Option<&'a str> {
    let start = element.find(&format!(" {key}=\""))? + key.len() + 3;
    element[start..].split('"').next()
}

/// One spelling for the micrometre, the inch and the ångström; other units as they are written.
fn unit_name(text: &str) -> String {
    let text = text.trim();
    match text.to_lowercase().as_str() {
        "um" | "µm" | "μm" | "micron" | "microns" | "micrometer" | "micrometre" | "\\u00b5m" | "&#181;m" => {
            "µm".to_owned()
        }
        "in" | "inches" => "inch".to_owned(),
        "angstrom" => "Å".to_owned(),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn image_j_counts_channels_first() {
        let info =
            StackInfo::of(Some("ImageJ=1.53t\nimages=12\nchannels=2\nslices=6\nhyperstack=true\nunit=\\u00B5m\n"));
        assert_eq!((info.channels, info.images, info.stride), (2, 6, 1));
        assert_eq!((info.page(0, 1), info.page(3, 0)), (1, 6));
        assert_eq!(info.unit.as_deref(), Some("µm"));
        let stack = StackInfo::of(Some("ImageJ=1.53t\nimages=30\nslices=30\nunit=pixel\n"));
        assert_eq!((stack.channels, stack.images, stack.unit), (1, 30, None));
        assert_eq!((info.sizes, stack.sizes, info.unit_down), ([2, 6, 1], [1, 30, 1], None));
        let sides = StackInfo::of(Some("ImageJ=1.53t\nimages=2\nframes=2\nunit=mm\nyunit=micron\n"));
        assert_eq!(
            (sides.sizes, sides.unit.as_deref(), sides.unit_down.as_deref()),
            ([1, 1, 2], Some("mm"), Some("µm"))
        );
    }

    #[test]
    fn ome_tells_the_order_of_pages_and_the_size_of_pixels() {
        let xml = r#"<OME><Image><Pixels DimensionOrder="XYZCT" SizeC="3" SizeZ="4" SizeT="2" PhysicalSizeX="0.5" PhysicalSizeY="0.25">
            <Channel ID="0" SamplesPerPixel="1"/></Pixels></Image></OME>"#;
        let info = StackInfo::of(Some(xml));
        assert_eq!((info.channels, info.images, info.stride), (3, 8, 4));
        assert_eq!((info.sizes, info.order), ([3, 4, 2], [1, 0, 2]));
        // Image 5 is z 1 of t 1: its channels lie 4 pages apart, behind the 12 of t 0.
        assert_eq!([0, 1, 2].map(|c| info.page(5, c)), [13, 17, 21]);
        assert_eq!(info.pixel, Some(PixelSize { x: 0.5, y: 0.25, unit: "µm".to_owned() }));
        let rgb = xml.replace(r#"SamplesPerPixel="1""#, r#"SamplesPerPixel="3""#);
        assert_eq!(StackInfo::of(Some(&rgb)).channels, 1, "colours of one page");
    }

    #[test]
    fn each_side_of_a_pixel_has_its_own_unit() {
        let of = |attributes: &str| {
            StackInfo::of(Some(&format!("<OME><Image><Pixels SizeC=\"1\" {attributes}/></Image></OME>"))).pixel
        };
        let sides = |x: &str, y: &str| of(&format!(r#"PhysicalSizeX="65" PhysicalSizeY="0.13" {x} {y}"#));
        let unit = |axis: char, unit: &str| format!(r#"PhysicalSize{axis}Unit="{unit}""#);
        for (x, y, factor) in [
            ("nm", "µm", 1e3),
            ("nm", "nm", 1.0),
            ("mm", "cm", 10.0),
            ("Å", "pm", 0.01),
            ("nm", "in", 2.54e7),
            ("pixel", "pixel", 1.0),
        ] {
            let found = sides(&unit('X', x), &unit('Y', y)).unwrap();
            assert_eq!((found.x, found.unit.as_str()), (65.0, x));
            assert!((found.y / (0.13 * factor) - 1.0).abs() < 1e-12, "{x}, {y}: {found:?}");
        }
        // Micrometres are what the schema has for a unit that is not said.
        let found = sides(&unit('X', "nm"), "").unwrap();
        assert!((found.y - 130.0).abs() < 1e-9 && found.unit == "nm", "{found:?}");
        let found = sides("", &unit('Y', "mm")).unwrap();
        assert!((found.y - 130.0).abs() < 1e-9 && found.unit == "µm", "{found:?}");
        assert_eq!(sides(&unit('X', "nm"), &unit('Y', "reference frame")), None, "no size is better than a wrong one");
        let square = of(r#"PhysicalSizeX="65" PhysicalSizeXUnit="nm""#);
        assert_eq!(square, Some(PixelSize { x: 65.0, y: 65.0, unit: "nm".to_owned() }));
    }

    #[test]
    fn numbers_beyond_any_file_are_of_no_file() {
        // Their products overflowed.
        for (order, z) in [("XYZCT", "18446744073709551615"), ("XYCZT", "9223372036854775809"), ("XYZZZZZCT", "65536")]
        {
            let xml = format!(
                r#"<OME><Image><Pixels DimensionOrder="{order}" SizeC="2" SizeZ="{z}" SizeT="3"/></Image></OME>"#
            );
            let info = StackInfo::of(Some(&xml));
            assert!(info.channels == 2 && [2, 4, 6].iter().all(|&pages| !info.is_of(pages)), "{order}: {info:?}");
        }
        let twice = r#"<OME><Image><Pixels DimensionOrder="XYZZCT" SizeC="2" SizeZ="2"/></Image></OME>"#;
        assert!(!StackInfo::of(Some(twice)).is_of(4), "channels would lie beyond the last page");
    }

    #[test]
    fn anything_else_says_nothing() {
        for text in
            [None, Some(""), Some("<OME"), Some("{\"shape\": [3, 4]}"), Some("ImageJ"), Some("<OME><Pixels SizeC=\"0")]
        {
            let info = StackInfo::of(text);
            assert_eq!((info.channels, info.page(7, 0)), (1, 7), "{text:?}");
        }
    }
}
