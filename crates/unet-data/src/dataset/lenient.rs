//! Opening for a look: what cannot be used is left out and becomes a finding with its files, as long as something is left. Training asks
//! for everything, and gets the first error.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::OpenOptions;
use super::listing;
use super::paired::{Look, Pair, Pairs};
use crate::{ClassTable, DataError, Finding, Severity};

/// What there is to say of what was left out, for this reason.
pub(super) fn left_out(e: &DataError, files: &[impl AsRef<Path>]) -> Finding {
    finding(e, files.iter().map(|f| f.as_ref().display().to_string()).collect())
}

fn finding(e: &DataError, files: Vec<String>) -> Finding {
    Finding { severity: Severity::Error, what: e.to_string(), remedy: "mend or remove the pair".to_owned(), files }
}

/// The parts of a dataset that could be opened, each of them given with its files. With `lenient` the others are findings, unless there
/// are no more than these.
pub(super) fn opened<T>(
    parts: Vec<(Vec<PathBuf>, Result<T, DataError>)>,
    lenient: bool,
) -> Result<(Vec<T>, Vec<Finding>), DataError> {
    let goes_on = lenient && parts.iter().any(|(_, part)| part.is_ok());
    let (mut found, mut findings) = (Vec::new(), Vec::new());
    for (files, part) in parts {
        match part {
            Ok(part) => found.push(part),
            Err(e) if goes_on => findings.push(left_out(&e, &files)),
            Err(e) => return Err(e),
        }
    }
    Ok((found, findings))
}

/// What was seen of each pair. Where one only looks, pairs that could not be looked at, that have another number of channels (of layers in
/// the mask) than most, or a mask of more values than all classes can have, are taken out of `found` and become its findings.
pub(super) fn usable(
    found: &mut Pairs,
    looked: Vec<Result<Look, DataError>>,
    options: &OpenOptions<'_>,
) -> Result<Vec<Look>, DataError> {
    if !options.lenient || looked.iter().all(Result::is_err) {
        return looked.into_iter().collect();
    }
    let looked = without_lossy(looked, &found.pairs, options);
    let mut counts = BTreeMap::new();
    looked.iter().flatten().for_each(|look| *counts.entry(look.kind()).or_insert(0usize) += 1);
    let usual = counts.into_iter().max_by_key(|&(kind, n)| (n, Reverse(kind))).map(|(kind, _)| kind);
    let is_usual = |look: &Look| Some(look.kind()) == usual;
    let all = std::mem::take(&mut found.pairs);
    let first = looked.iter().zip(&all).find(|(look, _)| look.as_ref().is_ok_and(is_usual));
    let first = first.map(|(_, pair)| pair.image.path().to_owned()).unwrap_or_default();
    let mut looks = Vec::new();
    for (look, pair) in looked.into_iter().zip(all) {
        let odd = match look {
            Ok(look) if is_usual(&look) => {
                looks.push(look);
                found.pairs.push(pair);
                continue;
            }
            Ok(look) => unlike(&look, &pair, usual.unwrap_or_default(), &first),
            Err(e) => e,
        };
        found.findings.push(finding(&odd, files(&pair)));
    }
    Ok(looks)
}

/// Masks with more values than all classes can have are errors of their own, unless all masks are such.
fn without_lossy(
    looked: Vec<Result<Look, DataError>>,
    pairs: &[Pair],
    options: &OpenOptions<'_>,
) -> Vec<Result<Look, DataError>> {
    if options.classes.is_some() || options.masks.multi_label {
        return looked;
    }
    let lossy = |(look, pair): (&Result<Look, DataError>, &Pair)| {
        let table = ClassTable::from_census_with(pair.mask.path(), &look.as_ref().ok()?.census, options.masks);
        table.err().filter(|e| matches!(e, DataError::LossyMask { .. }))
    };
    let lossy: Vec<Option<DataError>> = looked.iter().zip(pairs).map(lossy).collect();
    if looked.iter().zip(&lossy).all(|(look, lossy)| look.is_err() || lossy.is_some()) {
        return looked;
    }
    looked.into_iter().zip(lossy).map(|(look, lossy)| lossy.map_or(look, Err)).collect()
}

/// The error of a pair that is not as the usual ones, of so many channels and layers.
fn unlike(look: &Look, pair: &Pair, (channels, layers): (usize, usize), first: &Path) -> DataError {
    match look.channels == channels {
        true => DataError::MaskLayers { path: pair.mask.path().to_owned(), found: look.layers, expected: layers },
        false => DataError::Channels {
            path: pair.image.path().to_owned(),
            found: look.channels,
            first: first.to_owned(),
            expected: channels,
        },
    }
}

/// The image's file, with the page where there are several, and the mask's.
fn files(pair: &Pair) -> Vec<String> {
    let image = pair.image.path();
    let page = if listing::stem(image) == pair.id { String::new() } else { format!(" ({})", pair.id) };
    vec![format!("{}{page}", image.display()), pair.mask.path().display().to_string()]
}
