//! Findings about the images taken together: bit depths and sizes that differ, classes that are rare, missing or no classes at all. Each
//! names the files that show it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::{Facts, Finding, Patient, Severity};
use crate::{Class, MaskKind};

/// A class with less than this share is rare.
const RARE: f64 = 0.01;

impl Patient<'_> {
    /// Bit depths and sizes that differ, and 16 bits of which few are used.
    pub(super) fn kinds(&self) -> Vec<Finding> {
        [self.depths(), self.sizes()].into_iter().flatten().collect()
    }

    fn depths(&self) -> Option<Finding> {
        let of_depth = self.kinds_by(|f| f.depth);
        let total: usize = of_depth.iter().map(|(_, of)| of.len()).sum();
        let (_, rarer) = of_depth.split_first()?;
        if rarer.is_empty() {
            return self.dim();
        }
        let example = |(bits, of): &(u32, Vec<usize>)| {
            format!("{} has {bits} bits ({} of {total})", self.short_name(of[0]), of.len())
        };
        let kinds: Vec<String> = of_depth.iter().map(example).collect();
        let what = format!("images of different bit depths: {}", kinds.join(", "));
        let files: Vec<usize> = rarer.iter().rev().flat_map(|(_, of)| of.iter().copied()).collect();
        self.finding(Severity::Warning, what, "convert them to one, or scale by --normalization unit", &files)
    }

    /// 16-bit images whose values end far below what 16 bits hold.
    fn dim(&self) -> Option<Finding> {
        let (brightest, facts) = self.seen().max_by(|a, b| a.1.range.1.total_cmp(&b.1.range.1))?;
        if facts.depth != 16 || facts.range.1 >= 4096.0 {
            return None;
        }
        let what = format!("16-bit images whose values end at {}: they look black in most viewers", facts.range.1);
        let remedy = "nothing: training scales them (--normalization mean_std or min_max, not unit)";
        self.finding(Severity::Note, what, remedy, &[brightest])
    }

    fn sizes(&self) -> Option<Finding> {
        let mut of_size = self.kinds_by(|f| f.size);
        of_size.sort_by_key(|((w, h), _)| (w * h, *w));
        let [(small, smallest), .., (large, largest)] = of_size.as_slice() else { return None };
        let example = |(w, h): &(usize, usize), of: &[usize]| format!("{w}×{h} ({})", self.short_name(of[0]));
        let (from, to) = (example(small, smallest), example(large, largest));
        let what = format!("images of {} different sizes, from {from} to {to}", of_size.len());
        let remedy = "nothing: patches are cut from all, and small images are mirrored (with --patch 0: batch size 1)";
        self.finding(Severity::Note, what, remedy, &[smallest[0], largest[0]])
    }

    /// The samples of each kind, the most frequent kind first.
    fn kinds_by<K: Ord>(&self, kind: impl Fn(&Facts) -> K) -> Vec<(K, Vec<usize>)> {
        let mut of: BTreeMap<K, Vec<usize>> = BTreeMap::new();
        self.seen().for_each(|(i, facts)| of.entry(kind(facts)).or_default().push(i));
        let mut of: Vec<_> = of.into_iter().collect();
        of.sort_by_key(|(_, samples)| Reverse(samples.len()));
        of
    }

    /// Classes that are rare or missing, or look like none; `shares` are those of all masks.
    pub(super) fn classes(&self, shares: &[f64]) -> Vec<Finding> {
        let classes = self.dataset.classes().classes();
        let train: BTreeSet<usize> = self.split.train.iter().copied().collect();
        let mut found = Vec::new();
        for (class, entry) in classes.iter().enumerate() {
            let holders = self.holders(class);
            if holders.is_empty() {
                found.push(self.missing(entry));
                continue;
            }
            if !train.is_empty() && holders.iter().all(|i| !train.contains(i)) {
                let what = format!("class {} is in none of the masks trained on", entry.name);
                let remedy = "nothing is learnt of it: hold out other images (--val with another share, or list:FILE)";
                found.extend(self.finding(Severity::Warning, what, remedy, &holders));
            }
            found.extend(self.smoothed(class, shares, &holders).or_else(|| self.rare(class, shares, &holders)));
        }
        found.extend(self.odd_last_value());
        found.extend(self.black_masks());
        found
    }

    /// The samples whose masks hold a class, those with most of it first.
    fn holders(&self, class: usize) -> Vec<usize> {
        let mut of: Vec<(u64, usize)> =
            self.seen().map(|(i, f)| (f.classes[class], i)).filter(|(n, _)| *n > 0).collect();
        of.sort_by_key(|&(n, i)| (Reverse(n), i));
        of.into_iter().map(|(_, i)| i).collect()
    }

    /// A class that no mask holds, but perhaps one that could not be read.
    fn missing(&self, class: &Class) -> Finding {
        let unread: Vec<String> =
            self.looked.iter().enumerate().filter(|(_, f)| f.is_err()).map(|(i, _)| self.file(i)).collect();
        let (read, of) = (self.looked.len() - unread.len(), if unread.is_empty() { "" } else { " that could be read" });
        Finding {
            severity: Severity::Warning,
            what: format!("class {} is in none of the {read} masks{of}", class.name),
            remedy: "nothing is learnt of it: mend the masks that hold it, or add some".to_owned(),
            files: if unread.is_empty() { vec![self.dataset.name()] } else { unread },
        }
    }

    /// A value with a few pixels beside one with many.
    fn smoothed(&self, class: usize, shares: &[f64], holders: &[usize]) -> Option<Finding> {
        let table = self.dataset.classes();
        let (entry, share) = (table.classes().get(class)?, shares[class]);
        if table.kind() != MaskKind::Values || table.len() <= 2 || share >= 0.002 {
            return None;
        }
        let beside = |other: &Class| other.value != entry.value && other.value.abs_diff(entry.value) <= 8;
        let mut others = table.classes().iter().zip(shares);
        let (other, _) = others.find(|(other, s)| beside(other) && **s > 20.0 * share)?;
        let percent = 100.0 * share;
        let what = format!(
            "value {} has {percent:.3} % of the pixels beside {}: the rest of a smoothed mask?",
            entry.name, other.name
        );
        let remedy =
            "where it is no class of its own, save masks without smoothing or compression, or pass --mask-threshold";
        (other.value > 8).then(|| self.finding(Severity::Warning, what, remedy, holders))?
    }

    fn rare(&self, class: usize, shares: &[f64], holders: &[usize]) -> Option<Finding> {
        let (entry, share) = (self.dataset.classes().classes().get(class)?, shares[class]);
        let (name, percent, n, of) = (&entry.name, 100.0 * share, holders.len(), self.seen().count());
        let what = format!("class {name} has {percent:.3} % of the pixels, in {n} of {of} masks");
        let remedy =
            "patches that hold it help: data.sampler = { kind = \"foreground\", share = 0.5 }, or data.weight_map = {}";
        self.finding(Severity::Note, what, remedy, holders).filter(|_| share < RARE)
    }

    /// 255 behind 0, 1, 2 …: what most programs write where a pixel is of no class.
    fn odd_last_value(&self) -> Option<Finding> {
        let table = self.dataset.classes();
        let [classes @ .., last] = table.classes() else { return None };
        let counted = classes.len() > 1 && classes.iter().zip(0..).all(|(class, n)| class.value == n);
        let is_odd = table.kind() == MaskKind::Values && table.ignore().is_none() && counted && last.value == 255;
        let most = classes.len().checked_sub(1).filter(|_| is_odd)?;
        let what = format!("mask value 255 beside 0 to {most}: a class, or the mark of pixels that are of none?");
        let remedy = "if it marks pixels to leave out: --ignore 255";
        self.finding(Severity::Warning, what, remedy, &self.holders(classes.len()))
    }

    fn black_masks(&self) -> Option<Finding> {
        let table = self.dataset.classes();
        let most = table.classes().last().filter(|c| table.kind() == MaskKind::Values && c.value < 32)?;
        let what = format!("mask values are small numbers, up to {}: the masks look black in viewers", most.value);
        let remedy = "nothing; unet predict --save palette writes predictions that can be seen";
        let example = self.holders(table.len() - 1).first().copied().or_else(|| self.seen().next().map(|(i, _)| i))?;
        self.finding(Severity::Note, what, remedy, &[example])
    }
}
