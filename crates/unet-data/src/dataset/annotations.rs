//! Outlines in JSON: COCO (one file for all images) and LabelMe (one beside each image) as masks.
//!
//! Class values are 1, 2, 3 … in the order of COCO's category numbers or of LabelMe's label names; 0 is the background. A checkpoint's
//! class names decide instead where they are given.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

use super::lenient::{left_out, opened};
use super::listing::{self, IMAGE_NAMES};
use super::mask::Mask;
use super::outline::{Drawing, Outline, Ring, Shape};
use super::paired::{Pair, Pairs, single};
use crate::codec::Axes;
use crate::{ClassTable, DataError};

/// The most bytes that a file of outlines may take.
const MOST_BYTES: u64 = 1 << 30;
/// The name of what no outline covers.
const BACKGROUND: &str = "background";

/// The pairs that JSON files in `root`, or in its `annotations` folder, make with its images; `None` where there are none. `axes` says what
/// the pages of images are; each file has to be one image. With `lenient`, files that cannot be read, and images whose outlines or pixels
/// cannot, are findings.
pub(super) fn find(
    root: &Path,
    axes: Axes,
    classes: Option<&ClassTable>,
    lenient: bool,
) -> Result<Option<Pairs>, DataError> {
    let images = listing::only(root, |p| listing::is_one_of(&listing::name(p), &IMAGE_NAMES) && p.is_dir())?;
    let images = images.unwrap_or_else(|| root.to_owned());
    let annotations = root.join("annotations");
    let folders = [root.to_owned(), annotations, images.clone()];
    let mut files: Vec<PathBuf> = Vec::new();
    for folder in folders.iter().filter(|f| f.is_dir()) {
        files.extend(listing::entries(folder)?.into_iter().filter(|p| is_json(p)));
    }
    files.sort();
    files.dedup();
    let mut drawings = Vec::new();
    let mut coco: Option<(PathBuf, Coco)> = None;
    let mut broken = Vec::new();
    for file in files {
        let json = match read(&file) {
            Err(e) if lenient => {
                broken.push((e, file));
                continue;
            }
            json => json?,
        };
        match json {
            Json::Coco(found) => match &coco {
                Some((first, _)) => {
                    let (first, second) = (listing::name(first), listing::name(&file));
                    return Err(DataError::Ambiguous { path: root.to_owned(), first, second });
                }
                None => coco = Some((file, found)),
            },
            Json::LabelMe(found) => drawings.push((file, found)),
            Json::Other => {}
        }
    }
    let folders = (root, images.as_path());
    let pairs = match (coco, drawings.is_empty()) {
        (Some((file, coco)), _) => from_coco(folders, axes, (file.as_path(), coco), classes, lenient)?,
        (None, false) => from_labelme(folders, axes, drawings, classes, lenient)?,
        (None, true) => return broken.into_iter().next().map_or(Ok(None), |(e, _)| Err(e)),
    };
    let broken = broken.iter().map(|(e, file)| left_out(e, &[file]));
    Ok(Some(Pairs { findings: broken.chain(pairs.findings).collect(), ..pairs }))
}

fn is_json(path: &Path) -> bool {
    !listing::name(path).starts_with('.') && path.extension().is_some_and(|e| e.eq_ignore_ascii_case("json"))
}

/// One LabelMe file as a mask; every label is that of a class.
pub(super) fn labelme(path: &Path, values: &BTreeMap<String, u32>) -> Result<Drawing, DataError> {
    match read(path)? {
        Json::LabelMe(found) => drawing(path, &found, values),
        _ => Err(DataError::decode(path, "LabelMe", "it has no shapes")),
    }
}

/// The labels of a LabelMe file.
pub(super) fn labels(path: &Path) -> Result<BTreeSet<String>, DataError> {
    match read(path)? {
        Json::LabelMe(found) => Ok(found.shapes.into_iter().map(|s| s.label).collect()),
        _ => Err(DataError::decode(path, "LabelMe", "it has no shapes")),
    }
}

enum Json {
    Coco(Coco),
    LabelMe(LabelMe),
    Other,
}

#[derive(Deserialize)]
struct Coco {
    images: Vec<CocoImage>,
    annotations: Vec<CocoAnnotation>,
    #[serde(default)]
    categories: Vec<CocoCategory>,
}

#[derive(Deserialize)]
struct CocoImage {
    id: u64,
    file_name: String,
    height: usize,
    width: usize,
}

#[derive(Deserialize)]
struct CocoAnnotation {
    image_id: u64,
    #[serde(default)]
    category_id: u64,
    segmentation: Segmentation,
}

#[derive(Deserialize)]
struct CocoCategory {
    id: u64,
    name: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Segmentation {
    Polygons(Vec<Vec<f64>>),
    Runs { size: [usize; 2], counts: Counts },
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Counts {
    Numbers(Vec<u32>),
    Text(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LabelMe {
    shapes: Vec<LabelMeShape>,
    #[serde(default)]
    image_path: Option<String>,
    #[serde(default)]
    image_height: Option<usize>,
    #[serde(default)]
    image_width: Option<usize>,
}

#[derive(Deserialize)]
struct LabelMeShape {
    label: String,
    points: Vec<[f64; 2]>,
    #[serde(default = "polygon")]
    shape_type: String,
}

fn polygon() -> String {
    "polygon".to_owned()
}

fn read(path: &Path) -> Result<Json, DataError> {
    let file = File::open(path).map_err(|e| DataError::io(path, "open", e))?;
    let mut text = String::new();
    file.take(MOST_BYTES).read_to_string(&mut text).map_err(|e| DataError::io(path, "read", e))?;
    let json: serde_json::Value = serde_json::from_str(&text).map_err(|e| DataError::decode(path, "JSON", e))?;
    let has = |key: &str| json.get(key).is_some_and(serde_json::Value::is_array);
    if has("images") && has("annotations") {
        return serde_json::from_value(json).map(Json::Coco).map_err(|e| DataError::decode(path, "COCO", e));
    }
    if has("shapes") {
        return serde_json::from_value(json).map(Json::LabelMe).map_err(|e| DataError::decode(path, "LabelMe", e));
    }
    Ok(Json::Other)
}

/// The value of each name: its class's, where classes are known, else its place.
pub(super) fn values_of(
    path: &Path,
    names: &[String],
    classes: Option<&ClassTable>,
) -> Result<BTreeMap<String, u32>, DataError> {
    if names.len() > 255 {
        let found = names.to_vec();
        return Err(DataError::ForeignMask {
            path: path.to_owned(),
            found,
            known: vec!["at most 255 labels".to_owned()],
        });
    }
    let Some(classes) = classes else {
        return Ok(names.iter().cloned().zip(1..).collect());
    };
    let value = |name: &String| {
        let class = classes.classes().iter().find(|c| c.name == *name && c.value <= 255);
        let known = || classes.classes().iter().map(|c| c.name.clone()).collect();
        class.map(|c| (name.clone(), c.value)).ok_or_else(|| DataError::ForeignMask {
            path: path.to_owned(),
            found: vec![name.clone()],
            known: known(),
        })
    };
    names.iter().map(value).collect()
}

/// The names of values, the background's included.
pub(super) fn names_of(values: &BTreeMap<String, u32>) -> BTreeMap<u32, String> {
    let background = std::iter::once((0, BACKGROUND.to_owned()));
    background.chain(values.iter().map(|(name, &value)| (value, name.clone()))).collect()
}

fn from_coco(
    folders: (&Path, &Path),
    axes: Axes,
    (file, coco): (&Path, Coco),
    classes: Option<&ClassTable>,
    lenient: bool,
) -> Result<Pairs, DataError> {
    let names: BTreeMap<u64, String> = coco.categories.into_iter().map(|c| (c.id, c.name)).collect();
    let used: BTreeSet<u64> = coco.annotations.iter().map(|a| a.category_id).collect();
    let name = |id: &u64| names.get(id).cloned().unwrap_or_else(|| format!("category {id}"));
    let used_names: Vec<String> = used.iter().map(name).collect();
    let values = values_of(file, &used_names, classes)?;
    // Of each image, its outlines, or what is wrong with one of them.
    let mut shapes: BTreeMap<u64, Result<Vec<Shape>, DataError>> = BTreeMap::new();
    for annotation in coco.annotations {
        let value = values.get(&name(&annotation.category_id)).copied().unwrap_or(1) as u8;
        let of_image = shapes.entry(annotation.image_id).or_insert_with(|| Ok(Vec::new()));
        match (outline(file, annotation.segmentation), of_image) {
            (Err(e), _) if !lenient => return Err(e),
            (Err(e), of_image) => *of_image = Err(e),
            (Ok(outline), Ok(of_image)) => of_image.push(Shape::everywhere(outline, value)),
            (Ok(_), Err(_)) => {}
        }
    }
    let mut numbers = BTreeSet::new();
    let twice: BTreeSet<u64> = coco.images.iter().map(|i| i.id).filter(|id| !numbers.insert(*id)).collect();
    let mut parts = Vec::new();
    for image in coco.images {
        let shapes = match twice.contains(&image.id) {
            true => Err(DataError::decode(
                file,
                "COCO",
                format!("two images have the id {}; the outlines of which are they?", image.id),
            )),
            false => shapes.remove(&image.id).unwrap_or_else(|| Ok(Vec::new())),
        };
        let names = vec![folders.1.join(&image.file_name), file.to_owned()];
        parts.push((names, shapes.and_then(|shapes| coco_pair(folders, axes, file, (image, shapes)))));
    }
    let (pairs, findings) = opened(parts, lenient)?;
    Ok(Pairs { names: names_of(&values), findings, ..Pairs::new(folders.0, pairs) })
}

/// One image of a COCO file with its outlines.
fn coco_pair(
    (root, images): (&Path, &Path),
    axes: Axes,
    file: &Path,
    (image, shapes): (CocoImage, Vec<Shape>),
) -> Result<Pair, DataError> {
    let path = [images.join(&image.file_name), root.join(&image.file_name)].into_iter().find(|p| p.is_file());
    let path = path.ok_or_else(|| missing(file, &image.file_name, images))?;
    pair(
        &path,
        axes,
        Drawing { path: file.to_owned(), size: Some((image.width, image.height)), dimensions: None, shapes },
    )
}

fn missing(file: &Path, name: &str, images: &Path) -> DataError {
    let reason = format!("it names the image {name:?}, which is not there; put it into {}", images.display());
    DataError::decode(file, "COCO", reason)
}

fn pair(image: &Path, axes: Axes, drawing: Drawing) -> Result<Pair, DataError> {
    single(listing::stem(image), image, axes, Mask::Drawing(Arc::new(drawing)))
}

fn outline(file: &Path, segmentation: Segmentation) -> Result<Outline, DataError> {
    Ok(match segmentation {
        Segmentation::Polygons(polygons) => Outline::Nested(
            polygons.iter().map(|p| p.as_chunks::<2>().0.iter().map(|&[x, y]| (x, y)).collect()).collect(),
        ),
        Segmentation::Runs { size, counts: Counts::Numbers(counts) } => Outline::Runs { height: size[0], counts },
        Segmentation::Runs { size, counts: Counts::Text(text) } => {
            let counts =
                runs_of(&text).ok_or_else(|| DataError::decode(file, "COCO", "its compressed runs make no sense"))?;
            Outline::Runs { height: size[0], counts }
        }
    })
}

/// COCO's compressed runs (pycocotools, `rleFrString`): numbers in base 32, each from the third on less the one before the last.
fn runs_of(text: &str) -> Option<Vec<u32>> {
    let mut counts: Vec<i64> = Vec::new();
    let mut bytes = text.bytes();
    while let Some(first) = bytes.next() {
        let (mut value, mut shift, mut byte) = (0i64, 0u32, first);
        loop {
            let digit = i64::from(byte.checked_sub(48)?);
            value |= (digit & 31) << shift;
            shift += 5;
            if digit & 32 == 0 {
                if digit & 16 != 0 {
                    value |= -1 << shift;
                }
                break;
            }
            if shift > 50 {
                return None;
            }
            byte = bytes.next()?;
        }
        if counts.len() > 2 {
            value = value.checked_add(counts[counts.len() - 2])?;
        }
        counts.push(value);
    }
    counts.into_iter().map(|n| u32::try_from(n).ok()).collect()
}

fn from_labelme(
    (root, images): (&Path, &Path),
    axes: Axes,
    found: Vec<(PathBuf, LabelMe)>,
    classes: Option<&ClassTable>,
    lenient: bool,
) -> Result<Pairs, DataError> {
    let names: BTreeSet<String> = found.iter().flat_map(|(_, l)| l.shapes.iter().map(|s| s.label.clone())).collect();
    let values = values_of(root, &names.into_iter().collect::<Vec<_>>(), classes)?;
    let here = listing::images(images)?;
    let one = |file: &PathBuf, labelme: &LabelMe| {
        let named = labelme.image_path.as_deref().map(|p| p.rsplit(['/', '\\']).next().unwrap_or(p));
        let image = here
            .iter()
            .find(|p| listing::stem(p) == listing::stem(file))
            .or_else(|| here.iter().find(|p| named.is_some_and(|n| listing::name(p) == n)));
        let alone = || DataError::Unpaired { path: root.to_owned(), images: Vec::new(), masks: vec![file.clone()] };
        pair(image.ok_or_else(alone)?, axes, drawing(file, labelme, &values)?)
    };
    let parts = found.iter().map(|(file, labelme)| (vec![file.clone()], one(file, labelme))).collect();
    let (mut pairs, findings) = opened(parts, lenient)?;
    pairs.sort_by(|a, b| listing::natural_order(&a.id, &b.id));
    Ok(Pairs { names: names_of(&values), findings, ..Pairs::new(root, pairs) })
}

fn drawing(file: &Path, labelme: &LabelMe, values: &BTreeMap<String, u32>) -> Result<Drawing, DataError> {
    let mut shapes = Vec::new();
    for shape in &labelme.shapes {
        let value = values.get(&shape.label).copied().unwrap_or(1) as u8;
        let ring: Ring = shape.points.iter().map(|&[x, y]| (x, y)).collect();
        let outline = match (shape.shape_type.as_str(), ring.as_slice()) {
            ("polygon", _) => Outline::EvenOdd(vec![ring]),
            ("rectangle", &[(ax, ay), (bx, by)]) => {
                Outline::EvenOdd(vec![vec![(ax, ay), (bx, ay), (bx, by), (ax, by)]])
            }
            ("circle", &[(cx, cy), (x, y)]) => {
                let r = (x - cx).hypot(y - cy);
                Outline::Ellipse([cx - r, cy - r, 2.0 * r, 2.0 * r])
            }
            ("point" | "points" | "line" | "linestrip", _) => continue, // no area
            (other, _) => {
                let reason = format!("a shape of the type {other:?}; expected polygons, rectangles and circles");
                return Err(DataError::decode(file, "LabelMe", reason));
            }
        };
        shapes.push(Shape::everywhere(outline, value));
    }
    let size = labelme.image_width.zip(labelme.image_height);
    Ok(Drawing { path: file.to_owned(), size, dimensions: None, shapes })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn compressed_runs_are_those_that_pycocotools_writes() {
        // A 9×7 mask with rows 2..6, columns 1..4 set, written by a transcription of pycocotools' rleToString.
        assert_eq!(runs_of(";45000i0").unwrap(), [11, 4, 5, 4, 5, 4, 30]);
        assert_eq!(runs_of("\u{1}"), None);
        assert_eq!(runs_of("PPPPPPPPPPPPPPPPPP"), None);
    }
}
