//! Folders as lists: images in natural order (0, 1, 2, 10), hidden files left out, and the names under which image and mask
//! folders (or stacks) are looked for.

use std::cmp::Ordering;
use std::path::{Path, PathBuf};

use crate::DataError;
use crate::codec;

/// Names of an image folder, or the stem of an image stack.
pub(super) const IMAGE_NAMES: [&str; 3] = ["image", "images", "imgs"];
/// Names of a mask folder, or the stem of a mask stack.
pub(super) const MASK_NAMES: [&str; 4] = ["label", "labels", "mask", "masks"];

/// Everything in a folder, in natural order.
pub(super) fn entries(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let list = std::fs::read_dir(folder).map_err(|e| DataError::io(folder, "list", e))?;
    let mut paths = Vec::new();
    for entry in list {
        paths.push(entry.map_err(|e| DataError::io(folder, "list", e))?.path());
    }
    paths.sort_by(|a, b| natural_order(&name(a), &name(b)));
    Ok(paths)
}

/// The image files of a folder, in natural order.
pub(super) fn images(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    Ok(entries(folder)?.into_iter().filter(|p| codec::is_image_path(p) && p.is_file()).collect())
}

/// The files of a folder that can be masks, in natural order: images, ImageJ's regions, LabelMe's outlines.
pub(super) fn masks(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let is_mask =
        |p: &PathBuf| codec::is_image_path(p) || (has_ending(p, &["roi", "zip", "json"]) && !name(p).starts_with('.'));
    Ok(entries(folder)?.into_iter().filter(|p| is_mask(p) && p.is_file()).collect())
}

/// Whether the file's name ends in one of these, case ignored.
pub(super) fn has_ending(path: &Path, endings: &[&str]) -> bool {
    path.extension().is_some_and(|e| is_one_of(&e.to_string_lossy(), endings))
}

/// The one entry that `accept` takes; two of them are an error.
pub(super) fn only(folder: &Path, accept: impl Fn(&Path) -> bool) -> Result<Option<PathBuf>, DataError> {
    let mut found = entries(folder)?.into_iter().filter(|p| accept(p));
    match (found.next(), found.next()) {
        (Some(a), Some(b)) => Err(DataError::Ambiguous { path: folder.to_owned(), first: name(&a), second: name(&b) }),
        (first, _) => Ok(first),
    }
}

/// Whether `text` is one of `names`, case ignored.
pub(super) fn is_one_of(text: &str, names: &[&str]) -> bool {
    names.iter().any(|n| n.eq_ignore_ascii_case(text))
}

/// The file's name as text.
pub(super) fn name(path: &Path) -> String {
    path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The file's name without its ending.
pub(super) fn stem(path: &Path) -> String {
    path.file_stem().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}

/// What a folder holds, in a few words.
pub(super) fn describe(folder: &Path) -> Result<String, DataError> {
    let names: Vec<String> = entries(folder)?.iter().map(|p| name(p)).filter(|n| !n.starts_with('.')).collect();
    let more = names.len().saturating_sub(5);
    Ok(match names.len() {
        0 => "it is empty".to_owned(),
        _ if more > 0 => format!("it holds {} and {more} more", names[..5].join(", ")),
        _ => format!("it holds {}", names.join(", ")),
    })
}

/// Orders names as people do: runs of digits by their number (2 before 10), the rest by character; ties by plain order.
pub fn natural_order(a: &str, b: &str) -> Ordering {
    let (mut x, mut y) = (a.as_bytes(), b.as_bytes());
    while let (Some(p), Some(q)) = (x.first(), y.first()) {
        let step = if p.is_ascii_digit() && q.is_ascii_digit() {
            let (m, n) = (digits(x), digits(y));
            let (s, t) = (significant(&x[..m]), significant(&y[..n]));
            (x, y) = (&x[m..], &y[n..]);
            s.len().cmp(&t.len()).then_with(|| s.cmp(t))
        } else {
            let step = p.to_ascii_lowercase().cmp(&q.to_ascii_lowercase());
            (x, y) = (&x[1..], &y[1..]);
            step
        };
        if step != Ordering::Equal {
            return step;
        }
    }
    x.len().cmp(&y.len()).then_with(|| a.cmp(b))
}

fn digits(text: &[u8]) -> usize {
    text.iter().take_while(|b| b.is_ascii_digit()).count()
}

fn significant(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|&&b| b == b'0').count();
    &number[zeros..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_names_order_by_their_value() {
        let mut names = vec![
            "10.png",
            "2.png",
            "0.png",
            "1.png",
            "a10b2",
            "a10b10",
            "a9",
            "A1",
            "01.png",
            "99999999999999999999999",
        ];
        names.sort_by(|a, b| natural_order(a, b));
        assert_eq!(
            names,
            ["0.png", "01.png", "1.png", "2.png", "10.png", "99999999999999999999999", "A1", "a9", "a10b2", "a10b10"]
        );
    }

    #[test]
    fn natural_order_is_an_order() {
        let names = ["", "0", "00", "a0", "a00", "a", "B", "b", "1a", "01a", "1", "a1", "é"];
        for a in names {
            assert_eq!(natural_order(a, a), Ordering::Equal);
            for b in names {
                assert_eq!(natural_order(a, b), natural_order(b, a).reverse(), "{a:?} {b:?}");
                for c in names {
                    if natural_order(a, b).is_lt() && natural_order(b, c).is_lt() {
                        assert!(natural_order(a, c).is_lt(), "{a:?} {b:?} {c:?}");
                    }
                }
            }
        }
    }
}
