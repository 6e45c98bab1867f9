//! ImageJ's regions of interest: `.roi` files and the `.zip` archives of them that the ROI Manager saves.
//!
//! Format: `ij/io/RoiDecoder.java` of ImageJ 1.54 describes it; numbers are big-endian. Rectangles, ovals, polygons, freehand and traced
//! regions and composites are areas; lines, points and angles are none and are left out.
//! A region of a stack says which image it is on, one of a hyperstack which channel, slice and frame; of a file of a single image neither is
//! looked at, for a region keeps the number of a slice that the image may no longer be part of.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::listing;
use super::mask::FOREGROUND;
use super::outline::{Drawing, Outline, Ring, Shape};
use crate::DataError;
use crate::codec::{DIMENSION_NAMES, Pages};

const NAME: &str = "ImageJ ROI";
/// The most bytes that one region may take, and all regions of an archive, decompressed.
const MOST_BYTES: u64 = 64 << 20;
const MOST_BYTES_TOGETHER: u64 = 256 << 20;
/// The most regions of an archive, and points of all of them.
const MOST_REGIONS: usize = 1 << 20;
const MOST_POINTS: usize = 1 << 24;
/// Rings of fewer points enclose nothing.
const LEAST_POINTS: usize = 3;
/// Straight pieces that a curve becomes.
const PIECES: usize = 16;

/// Reads a `.roi` file or an archive of them, drawn on that image.
pub(super) fn read(path: &Path, image: &Pages) -> Result<Drawing, DataError> {
    let file = File::open(path).map_err(|e| DataError::io(path, "open", e))?;
    let is_zip = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("zip"));
    let mut regions = Regions { path, image, shapes: Vec::new(), bytes: 0, points: 0 };
    if is_zip {
        archive(path, file, &mut regions)?
    } else {
        regions.add(&listing::stem(path), file)?
    }
    let shapes = regions.shapes;
    if shapes.is_empty() {
        return Err(DataError::decode(
            path,
            NAME,
            "no area in it: rectangles, ovals, polygons, freehand regions and composites are areas",
        ));
    }
    Ok(Drawing { path: path.to_owned(), size: None, dimensions: Some(image.dimensions()), shapes })
}

fn archive(path: &Path, file: File, regions: &mut Regions<'_>) -> Result<(), DataError> {
    let fail = |e: zip::result::ZipError| DataError::decode(path, NAME, e);
    let mut archive = zip::ZipArchive::new(file).map_err(fail)?;
    if archive.len() > MOST_REGIONS {
        return Err(too_much(path, &format!("{} regions", archive.len()), MOST_REGIONS as u64));
    }
    for i in 0..archive.len() {
        let entry = archive.by_index(i).map_err(fail)?;
        let name = entry.name().map_err(fail)?.to_string();
        if name.to_ascii_lowercase().ends_with(".roi") {
            regions.add(&name, entry)?;
        }
    }
    Ok(())
}

/// What has been read of a file. A few compressed bytes may become very many regions: all that is kept is counted.
struct Regions<'a> {
    path: &'a Path,
    image: &'a Pages,
    shapes: Vec<Shape>,
    bytes: u64,
    points: usize,
}

impl Regions<'_> {
    /// Reads one more.
    fn add(&mut self, name: &str, file: impl Read) -> Result<(), DataError> {
        let path = self.path;
        let left = MOST_BYTES.min(MOST_BYTES_TOGETHER - self.bytes);
        let mut bytes = Vec::new();
        file.take(left + 1).read_to_end(&mut bytes).map_err(|e| DataError::io(path, "read", e))?;
        match bytes.len() as u64 {
            n if n <= left => self.bytes += n,
            _ if left == MOST_BYTES => return Err(too_much(path, "a region of more bytes", MOST_BYTES)),
            _ => return Err(too_much(path, "regions of more bytes together", MOST_BYTES_TOGETHER)),
        }
        let outline =
            decode(&bytes).ok_or_else(|| DataError::decode(path, NAME, "a region is cut off or of an unknown kind"))?;
        if let Some(Outline::EvenOdd(rings)) = &outline {
            self.points += rings.iter().map(Vec::len).sum::<usize>();
        }
        if self.points > MOST_POINTS {
            return Err(too_much(path, "regions of more points together", MOST_POINTS as u64));
        }
        if let Some(outline) = outline {
            let at = Position::of(&bytes).on(self.image).map_err(|(place, found)| DataError::RegionPlace {
                path: path.to_owned(),
                region: name.to_owned(),
                place,
                image: self.image.path().to_owned(),
                found,
            })?;
            self.shapes.push(Shape { outline, value: FOREGROUND, at });
        }
        Ok(())
    }
}

fn too_much(path: &Path, found: &str, most: u64) -> DataError {
    let reason =
        format!("it holds {found}, at most {most} are read (save the regions of each image to a file of their own)");
    DataError::decode(path, NAME, reason)
}

/// One region; `Some(None)` for one that is no area.
fn decode(bytes: &[u8]) -> Option<Option<Outline>> {
    const RECTANGLE: u8 = 1;
    const OVAL: u8 = 2;
    if bytes.get(..4)? != b"Iout" {
        return None;
    }
    let sides = [10, 8, 14, 12].map(|at| short(bytes, at));
    let [left, top, right, bottom] = sides.map(|v| v.map(f64::from));
    let (left, top, right, bottom) = (left?, top?, right?, bottom?);
    let (kind, count, options) = (*bytes.get(6)?, short(bytes, 16)? as u16 as usize, short(bytes, 50)? as u16);
    let composite = int(bytes, 36)?;
    let subpixel = options & 128 != 0 && short(bytes, 4)? >= 222;
    // A rectangle or an oval with places between pixels keeps these elsewhere; what ImageJ fills is what the whole ones say.
    let rectangle = [left, top, right - left, bottom - top];
    let outline = match kind {
        RECTANGLE if composite > 0 => Outline::EvenOdd(path_of(bytes, composite as usize)?),
        RECTANGLE => {
            // The size of rounded corners; other options have other bits there.
            let corner = if short(bytes, 48)? == 0 { short(bytes, 54)?.max(0) } else { 0 };
            Outline::EvenOdd(vec![rounded(rectangle, f64::from(corner))])
        }
        OVAL => Outline::Ellipse(rectangle),
        0 | 7 | 8 if subpixel => {
            let at = |k: usize| Some((float(bytes, 64 + 4 * count + 4 * k)?, float(bytes, 64 + 8 * count + 4 * k)?));
            let points = (0..count).map(|k| at(k).map(|(x, y)| (f64::from(x), f64::from(y))));
            Outline::EvenOdd(vec![points.collect::<Option<Ring>>()?])
        }
        0 | 7 | 8 => {
            let at = |k: usize| Some((short(bytes, 64 + 2 * k)?, short(bytes, 64 + 2 * count + 2 * k)?));
            let points = (0..count).map(|k| at(k).map(|(x, y)| (left + f64::from(x), top + f64::from(y))));
            Outline::EvenOdd(vec![points.collect::<Option<Ring>>()?])
        }
        3..=6 | 9 | 10 => return Some(None),
        _ => return None,
    };
    Some(Some(outline))
}

/// Where a region says that it is, counted from 1; 0 stands for everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Position {
    /// The image's number in its stack.
    number: usize,
    /// Channel, slice and frame.
    axes: [usize; 3],
}

impl Position {
    fn of(bytes: &[u8]) -> Self {
        // What the second header holds up to what is read of it, in ImageJ, too.
        const HEADER_2: usize = 36;
        let positive = |at: usize| int(bytes, at).and_then(|v| usize::try_from(v).ok()).unwrap_or(0);
        let (number, header) = (positive(56), positive(60));
        let is_there = header > 0 && header + HEADER_2 <= bytes.len();
        let axes = if is_there { [4, 8, 12].map(|at| positive(header + at)) } else { [0; 3] };
        Self { number, axes }
    }

    /// Channel, slice and frame from 0, `None` for all of them; where there is no such place, its name and what there is.
    fn on(self, image: &Pages) -> Result<[Option<usize>; 3], (String, String)> {
        let Self { number, axes } = self;
        if image.len() == 1 {
            return Ok([None; 3]);
        }
        let dimensions = image.dimensions();
        let counted = |n: [usize; 3]| [0, 1, 2].map(|i| (n[i], DIMENSION_NAMES[i]));
        let found = || counted(dimensions.sizes).map(|(n, name)| format!("{n} {name}(s)")).join(", ");
        // ImageJ from 1.53 on says the number of an image once more as a slice, though it may be a frame.
        let is_number = axes == [0; 3] || (number > 0 && axes == [0, number, 0]);
        if is_number {
            let Some(index) = number.checked_sub(1) else { return Ok([None; 3]) };
            let place = dimensions.of_number(index).ok_or_else(|| (format!("image {number}"), found()))?;
            return Ok(place.map(Some));
        }
        if axes.iter().zip(dimensions.sizes).any(|(&at, n)| at > n) {
            let parts = counted(axes).into_iter().filter(|(at, _)| *at > 0);
            return Err((parts.map(|(at, name)| format!("{name} {at}")).collect::<Vec<_>>().join(", "), found()));
        }
        Ok(axes.map(|at| at.checked_sub(1)))
    }
}

/// A rectangle (left, top, width, height) whose corners are quarters of an ellipse of that diameter, or right angles for 0.
fn rounded([x, y, w, h]: [f64; 4], corner: f64) -> Ring {
    // How far a Bézier curve's inner points lie from a quarter's ends, by its radius.
    const KAPPA: f64 = 0.552_284_749_830_793_4;
    let (a, b) = (corner.min(w) / 2.0, corner.min(h) / 2.0);
    // Clockwise from the top left: each corner, and where its two sides lie from it.
    let corners =
        [((x, y), (1.0, 1.0)), ((x + w, y), (-1.0, 1.0)), ((x + w, y + h), (-1.0, -1.0)), ((x, y + h), (1.0, -1.0))];
    let mut ring = Ring::new();
    for (k, ((cx, cy), (sx, sy))) in corners.into_iter().enumerate() {
        if corner <= 0.0 {
            ring.push((cx, cy));
            continue;
        }
        let on = |t: f64, across: bool| if across { (cx + sx * a * t, cy) } else { (cx, cy + sy * b * t) };
        // The curve runs from the side before the corner to the side behind it.
        let across = k % 2 == 1;
        let curve = [on(1.0, across), on(1.0 - KAPPA, across), on(1.0 - KAPPA, !across), on(1.0, !across)];
        ring.extend((0..=PIECES).map(|i| bezier(curve, i, PIECES)));
    }
    ring
}

/// The rings of a composite: floats, each step a number and its points (java.awt.geom.PathIterator). Curves become straight pieces.
fn path_of(bytes: &[u8], length: usize) -> Option<Vec<Ring>> {
    let value = |k: usize| float(bytes, 64 + 4 * k).map(f64::from);
    let point = |k: usize| Some((value(k)?, value(k + 1)?));
    let (mut rings, mut ring, mut k): (Vec<Ring>, Ring, usize) = (Vec::new(), Ring::new(), 0);
    while k < length {
        let last = ring.last().copied();
        match value(k)? as i32 {
            0 => {
                close(&mut ring, &mut rings);
                ring.push(point(k + 1)?);
                k += 3;
            }
            1 => {
                ring.push(point(k + 1)?);
                k += 3;
            }
            2 => {
                let (p, b, c) = (last?, point(k + 1)?, point(k + 3)?);
                ring.extend(
                    (1..=PIECES).map(|i| bezier([p, between(p, b, 2.0 / 3.0), between(c, b, 2.0 / 3.0), c], i, PIECES)),
                );
                k += 5;
            }
            3 => {
                let curve = [last?, point(k + 1)?, point(k + 3)?, point(k + 5)?];
                ring.extend((1..=PIECES).map(|i| bezier(curve, i, PIECES)));
                k += 7;
            }
            4 => {
                close(&mut ring, &mut rings);
                k += 1;
            }
            _ => return None,
        }
    }
    close(&mut ring, &mut rings);
    Some(rings)
}

/// Takes a ring that has come to its end for one of the rings, where it encloses something.
fn close(ring: &mut Ring, rings: &mut Vec<Ring>) {
    let whole = std::mem::take(ring);
    rings.extend((whole.len() >= LEAST_POINTS).then_some(whole));
}

fn between(a: (f64, f64), b: (f64, f64), share: f64) -> (f64, f64) {
    (a.0 + share * (b.0 - a.0), a.1 + share * (b.1 - a.1))
}

fn bezier([a, b, c, d]: [(f64, f64); 4], i: usize, pieces: usize) -> (f64, f64) {
    let t = i as f64 / pieces as f64;
    let (ab, bc, cd) = (between(a, b, t), between(b, c, t), between(c, d, t));
    between(between(ab, bc, t), between(bc, cd, t), t)
}

fn short(bytes: &[u8], at: usize) -> Option<i16> {
    Some(i16::from_be_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

fn int(bytes: &[u8], at: usize) -> Option<i32> {
    Some(i32::from_be_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn float(bytes: &[u8], at: usize) -> Option<f32> {
    Some(f32::from_be_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(super) mod tests {
    use super::*;

    /// The bytes of a region: bounds are left, top, right, bottom.
    pub(in crate::dataset) fn region(kind: u8, bounds: [i16; 4], points: &[(i16, i16)]) -> Vec<u8> {
        let mut bytes = vec![0u8; 64];
        bytes[..4].copy_from_slice(b"Iout");
        bytes[4..6].copy_from_slice(&227i16.to_be_bytes());
        bytes[6] = kind;
        for (at, k) in [(10, 0), (8, 1), (14, 2), (12, 3)] {
            bytes[at..at + 2].copy_from_slice(&bounds[k].to_be_bytes());
        }
        bytes[16..18].copy_from_slice(&(points.len() as i16).to_be_bytes());
        bytes.extend(points.iter().flat_map(|p| p.0.to_be_bytes()));
        bytes.extend(points.iter().flat_map(|p| p.1.to_be_bytes()));
        bytes
    }

    fn pixels(bytes: &[u8]) -> usize {
        let shapes = vec![Shape::everywhere(decode(bytes).unwrap().unwrap(), FOREGROUND)];
        let drawing = Drawing { path: "a".into(), size: None, dimensions: None, shapes };
        drawing.draw(0, (40, 30)).unwrap().to_f32().iter().filter(|v| **v == 255.0).count()
    }

    #[test]
    fn areas_have_their_pixels_and_lines_are_none() {
        assert_eq!(pixels(&region(1, [3, 4, 13, 9], &[])), 50);
        assert_eq!(pixels(&region(0, [2, 3, 12, 13], &[(0, 0), (10, 0), (10, 10), (0, 10)])), 100);
        let mut rounded = region(1, [5, 6, 25, 26], &[]);
        rounded[54..56].copy_from_slice(&20i16.to_be_bytes());
        assert!((pixels(&rounded) as f64 - std::f64::consts::PI * 100.0).abs() < 10.0, "corners that meet are a disc");
        let oval = pixels(&region(2, [5, 5, 25, 25], &[])) as f64;
        assert!((oval - std::f64::consts::PI * 100.0).abs() < 10.0, "{oval}");
        assert_eq!(decode(&region(3, [0, 0, 5, 5], &[])), Some(None));
        assert_eq!(decode(b"Iout"), None);
        assert_eq!(decode(&region(0, [0, 0, 5, 5], &[(1, 1)])[..66]), None, "points cut off");
    }

    #[test]
    fn a_composite_keeps_its_hole() {
        let mut bytes = region(1, [0, 0, 20, 20], &[]);
        let square = |a: f32, b: f32| [0.0, a, a, 1.0, b, a, 1.0, b, b, 1.0, a, b, 4.0];
        let path = [square(0.0, 20.0), square(5.0, 10.0)].concat();
        bytes[36..40].copy_from_slice(&(path.len() as i32).to_be_bytes());
        bytes.extend(path.iter().flat_map(|v: &f32| v.to_be_bytes()));
        assert_eq!(pixels(&bytes), 400 - 25);
    }

    /// A stack of so many small images.
    fn stack(folder: &Path, images: usize) -> Pages {
        let page = crate::Image::new(2, 2, 1, crate::Pixels::U8(vec![0; 4])).unwrap();
        let path = folder.join("image.tif");
        crate::codec::write_tiff(&path, &vec![page; images]).unwrap();
        Pages::open(&path).unwrap()
    }

    #[test]
    fn a_position_is_in_either_header() {
        let dir = tempfile::tempdir().unwrap();
        let image = stack(dir.path(), 4);
        let of = |number: i32, axes: [i32; 3]| {
            let mut bytes = region(1, [0, 0, 9, 9], &[]);
            bytes[56..60].copy_from_slice(&number.to_be_bytes());
            bytes[60..64].copy_from_slice(&70i32.to_be_bytes());
            bytes.resize(70 + 4, 7);
            bytes.extend(axes.iter().flat_map(|v| v.to_be_bytes()));
            bytes.resize(70 + 36, 0);
            bytes
        };
        let place = |bytes: &[u8], image| Position::of(bytes).on(image).ok();
        assert_eq!(place(&of(0, [0; 3]), &image), Some([None; 3]));
        assert_eq!(place(&of(3, [0; 3]), &image), Some([Some(0), Some(2), Some(0)]));
        assert_eq!(place(&of(0, [1, 3, 1]), &image), Some([Some(0), Some(2), Some(0)]));
        assert_eq!(place(&of(0, [0, 3, -1]), &image), Some([None, Some(2), None]));
        assert_eq!(place(&of(1, [1, 3, 1]), &image), Some([Some(0), Some(2), Some(0)]), "as ImageJ has it");
        assert_eq!(place(&of(5, [0; 3]), &image), None);
        assert_eq!(place(&of(0, [1, 3, 2]), &image), None, "a second frame");
        assert_eq!(place(&of(0, [1, 3, 1])[..105], &image), Some([None; 3]), "a second header that is cut off");
        assert_eq!(place(&of(5, [2, 3, 2]), &stack(dir.path(), 1)), Some([None; 3]), "all that is left of a stack");
    }

    #[test]
    fn rings_that_enclose_nothing_are_not_kept() {
        // Zeros are steps to the same point, each of which began a ring.
        let mut bytes = region(1, [0, 0, 20, 20], &[]);
        bytes[36..40].copy_from_slice(&3000i32.to_be_bytes());
        bytes.resize(64 + 4 * 3000, 0);
        assert_eq!(decode(&bytes).unwrap().unwrap(), Outline::EvenOdd(Vec::new()));
    }

    #[test]
    fn regions_are_limited_together() {
        let (dir, path) = (tempfile::tempdir().unwrap(), Path::new("a.zip"));
        let image = stack(dir.path(), 1);
        let of = |bytes, points| Regions { path, image: &image, shapes: Vec::new(), bytes, points };
        let square = region(0, [0, 0, 9, 9], &[(0, 0), (9, 0), (9, 9), (0, 9)]);
        assert!(of(0, 0).add("a.roi", square.as_slice()).is_ok());
        assert!(of(MOST_BYTES_TOGETHER - square.len() as u64, MOST_POINTS - 4).add("a.roi", square.as_slice()).is_ok());
        for mut full in [of(MOST_BYTES_TOGETHER + 1 - square.len() as u64, 0), of(0, MOST_POINTS - 3)] {
            let e = full.add("a.roi", square.as_slice()).unwrap_err().to_string();
            assert!(e.contains("a.zip") && e.contains("together") && full.shapes.is_empty(), "{e}");
        }
        let e = of(0, 0).add("a.roi", square.as_slice().chain(std::io::repeat(0))).unwrap_err().to_string();
        assert!(e.contains("a.zip") && e.contains("a region of more bytes"), "{e}");
    }
}
