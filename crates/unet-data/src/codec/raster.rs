//! PNG, JPEG and BMP through the `image` crate: 8- and 16-bit gray, gray+alpha, RGB, RGBA in; PNG out.
//!
//! Gray of fewer than 8 bits and palettes arrive expanded to 8-bit gray or RGB. Adobe's CMYK JPEG is converted to RGB by the decoder. What a
//! header announces is held to the limit before anything of that size is read or allocated.

use std::fs::File;
use std::io::{BufReader, Cursor};
use std::path::Path;

use image::codecs::bmp::BmpDecoder;
use image::codecs::jpeg::JpegDecoder;
use image::codecs::png::{PngDecoder, PngEncoder};
use image::{ColorType, ExtendedColorType, ImageDecoder, ImageEncoder, ImageError, Limits};

use super::{Format, MAX_IMAGE_BYTES, Probe, check_dimensions, jpeg, png_chunks, write_atomic};
use crate::{DataError, Image, PixelSize, Pixels};

/// Decodes the whole file.
pub(super) fn read(path: &Path, format: Format) -> Result<Image, DataError> {
    let Opened { decoder, gray_palette, is_complete } = open(path, format)?;
    let (color, (w, h)) = (decoder.color_type(), decoder.dimensions());
    let (channels, depth) = layout(path, color)?;
    let samples = color.channel_count();
    let values = check_dimensions(path, (w.into(), h.into()), samples.into(), depth.into())?;
    if !is_complete {
        return Err(DataError::decode(path, format.name(), "the end-of-image marker is missing"));
    }
    let mut raw = vec![0u8; values * (depth as usize / 8)];
    decoder.read_image_boxed(&mut raw).map_err(|e| DataError::decode(path, format.name(), e))?;
    let (width, height) = (w as usize, h as usize);
    if gray_palette && color == ColorType::Rgb8 {
        return Image::new(width, height, 1, Pixels::U8(raw.into_iter().step_by(3).collect()));
    }
    let pixels = if depth == 16 {
        Pixels::U16(raw.chunks_exact(2).map(|b| u16::from_ne_bytes([b[0], b[1]])).collect())
    } else {
        Pixels::U8(raw)
    };
    let image = Image::new(width, height, samples.into(), pixels)?.with_pixel_size(pixel_size(path, format));
    Ok(if channels < usize::from(samples) { image.drop_alpha() } else { image })
}

/// What the header says.
pub(super) fn probe(path: &Path, format: Format) -> Result<Probe, DataError> {
    let Opened { decoder, gray_palette, .. } = open(path, format)?;
    let (color, (width, height)) = (decoder.color_type(), decoder.dimensions());
    let (channels, bit_depth) = layout(path, color)?;
    check_dimensions(path, (width.into(), height.into()), color.channel_count().into(), bit_depth.into())?;
    let channels = if gray_palette && color == ColorType::Rgb8 { 1 } else { channels };
    let (width, height) = (width as usize, height as usize);
    Ok(Probe { format, width, height, channels, bit_depth, pages: 1, alpha: color.has_alpha() })
}

/// Physical size of a pixel, where a PNG says so, in micrometres.
fn pixel_size(path: &Path, format: Format) -> Option<PixelSize> {
    let file = (format == Format::Png).then(|| File::open(path).ok())??;
    let (x, y) = png_chunks::pixels_per_metre(&mut BufReader::new(file))?;
    (x > 0 && y > 0).then(|| PixelSize { x: 1e6 / f64::from(x), y: 1e6 / f64::from(y), unit: "µm".to_owned() })
}

/// A decoder that has read the header.
struct Opened {
    decoder: Box<dyn ImageDecoder>,
    /// Whether the three channels that come out are one: a bitmap whose palette is a gray scale.
    gray_palette: bool,
    /// Whether the end is there, as far as the decoder does not look for it.
    is_complete: bool,
}

fn open(path: &Path, format: Format) -> Result<Opened, DataError> {
    let reader = || File::open(path).map(BufReader::new).map_err(|e| DataError::io(path, "open", e));
    let whole = |decoder: Box<dyn ImageDecoder>| Opened { decoder, gray_palette: false, is_complete: true };
    let opened = match format {
        Format::Bmp => BmpDecoder::new(reader()?).map(|decoder| {
            let gray = |p: &[[u8; 3]]| p.iter().all(|[r, g, b]| r == g && g == b);
            let gray_palette = decoder.get_palette().is_some_and(gray);
            Opened { gray_palette, ..whole(Box::new(decoder)) }
        }),
        Format::Jpeg => {
            let bytes = jpeg::bytes(path)?;
            let is_complete = jpeg::is_complete(&bytes);
            JpegDecoder::new(Cursor::new(bytes)).map(|d| Opened { is_complete, ..whole(Box::new(d)) })
        }
        _ => {
            let mut limits = Limits::no_limits();
            limits.max_alloc = Some(MAX_IMAGE_BYTES);
            PngDecoder::with_limits(reader()?, limits).map(|d| whole(Box::new(d)))
        }
    };
    opened.map_err(|e| match e {
        ImageError::Limits(_) => {
            DataError::decode(path, format.name(), "the header asks for more memory than the limit of 2 GiB")
        }
        e => DataError::decode(path, format.name(), e),
    })
}

/// Channels without alpha, and bits per value.
fn layout(path: &Path, color: ColorType) -> Result<(usize, u32), DataError> {
    match color {
        ColorType::L8 | ColorType::La8 => Ok((1, 8)),
        ColorType::L16 | ColorType::La16 => Ok((1, 16)),
        ColorType::Rgb8 | ColorType::Rgba8 => Ok((3, 8)),
        ColorType::Rgb16 | ColorType::Rgba16 => Ok((3, 16)),
        other => Err(DataError::Pixels {
            path: path.to_owned(),
            found: format!("{other:?}"),
            expected: "8- or 16-bit gray or RGB, with or without alpha",
        }),
    }
}

/// Writes an 8- or 16-bit gray or RGB image, whole or not at all.
///
/// # Errors
/// [`DataError::Pixels`] for floating-point values or other channel counts, [`DataError::Io`] where writing fails.
pub fn write_png(path: &Path, image: &Image) -> Result<(), DataError> {
    let png = encode(path, image)?;
    write_bytes(path, &png)
}

/// Writes an 8-bit gray image whose values are shown in the colours of a palette: programs that read numbers find the values,
/// programs that show pictures show the colours.
///
/// # Errors
/// As [`write_png`]; [`DataError::Pixels`] for anything but 8-bit gray; [`DataError::Config`] for more than 256 colours or a value without one.
pub fn write_indexed_png(path: &Path, image: &Image, palette: &[[u8; 3]]) -> Result<(), DataError> {
    let (Pixels::U8(values), 1) = (image.pixels(), image.channels()) else {
        let found = format!("{} channel(s) of {} bits", image.channels(), image.bit_depth());
        return Err(DataError::Pixels { path: path.to_owned(), found, expected: "8-bit gray for a palette" });
    };
    let most = values.iter().copied().max().map_or(0, |v| usize::from(v) + 1);
    if palette.len() > 256 || most > palette.len() {
        return Err(DataError::config("palette", palette.len(), format!("{most} to 256 colours")));
    }
    let png = png_chunks::with_palette(encode(path, image)?, palette);
    write_bytes(path, &png)
}

fn write_bytes(path: &Path, bytes: &[u8]) -> Result<(), DataError> {
    write_atomic(path, |writer| std::io::Write::write_all(writer, bytes).map_err(|e| DataError::io(path, "write", e)))
}

/// The bytes of a PNG file.
fn encode(path: &Path, image: &Image) -> Result<Vec<u8>, DataError> {
    let (raw, depth) = match image.pixels() {
        Pixels::U8(v) => (std::borrow::Cow::Borrowed(v.as_slice()), 8),
        Pixels::U16(v) => (v.iter().flat_map(|v| v.to_ne_bytes()).collect::<Vec<_>>().into(), 16),
        Pixels::F32(_) => (Vec::new().into(), 32),
    };
    let color = match (image.channels(), depth) {
        (1, 8) => ExtendedColorType::L8,
        (3, 8) => ExtendedColorType::Rgb8,
        (1, 16) => ExtendedColorType::L16,
        (3, 16) => ExtendedColorType::Rgb16,
        (channels, depth) => {
            return Err(DataError::Pixels {
                path: path.to_owned(),
                found: format!("{channels} channel(s) of {depth} bits"),
                expected: "8- or 16-bit gray or RGB for PNG (TIFF holds everything)",
            });
        }
    };
    let side = |n: usize| u32::try_from(n).map_err(|_| DataError::config("image side", n, "at most 4294967295 pixels"));
    let (width, height) = (side(image.width())?, side(image.height())?);
    let mut png = Vec::new();
    PngEncoder::new(&mut png)
        .write_image(&raw, width, height, color)
        .map_err(|e| DataError::io(path, "write", std::io::Error::other(e)))?;
    let per_metre = |metres: f64| Some((1.0 / metres).round()).filter(|n| (1.0..4e9).contains(n)).map(|n| n as u32);
    match image.pixel_size().and_then(PixelSize::metres).map(|(x, y)| (per_metre(x), per_metre(y))) {
        Some((Some(x), Some(y))) => Ok(png_chunks::with_pixels_per_metre(png, (x, y))),
        _ => Ok(png),
    }
}
