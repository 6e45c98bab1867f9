//! The rules that a plan is made by: each looks at the survey and what is settled already, sets a few keys, and says why.
//!
//! Their numbers were found on the ISBI-2012 slices and on synthetic stacks; `docs/recipe.md` has the measurements.

use unet_data::{ClassSurvey, DataError, Dataset, Interpolation, Sampler, Survey, Symmetry, ValSpec, neighbours_alike};

use super::Means;
use crate::config::{NormalizationKind, RunConfig};
use crate::loss::{AffinityConfig, LossConfig, Scope};
use crate::objects::Arrangement;
use crate::predict::Augmentation;

/// Side of a patch that holds enough context for most textures.
const PATCH: usize = 256;
/// The largest side that is chosen.
const LARGEST_PATCH: usize = 512;
/// Pixels of a batch: two patches of that side.
const BATCH_PIXELS: usize = 2 * PATCH * PATCH;
/// How many times as wide as the thickest objects a patch is at least.
const CONTEXT: f64 = 8.0;
/// Standard errors from which on a class is said to lie high or low.
const SURELY: f64 = 6.0;
/// The share below which a class is searched for.
const RARE: f64 = 0.05;
/// The width from which on a network learns from pairs of pixels; at 16 they cost a seventh of the time and give nothing.
const PAIRED: usize = 32;
/// Parts an image from which on objects are many.
const MANY: f64 = 8.0;
/// The thickest that may lie between them, in pixels.
const THIN: f64 = 32.0;

/// What a rule may look at.
pub(super) struct Facts<'a> {
    pub survey: &'a Survey,
    pub train: usize,
    pub means: Means,
}

/// One choice: sets keys and yields the reason; `show` puts what is set in words.
pub(super) struct Rule {
    pub what: &'static str,
    pub choose: fn(&Facts<'_>, &mut RunConfig) -> String,
    pub show: fn(&RunConfig) -> String,
}

/// In order: later ones look at what earlier ones chose.
pub(super) const RULES: &[Rule] = &[
    Rule { what: "values", choose: normalization, show: |c| words(&c.data.normalization) },
    Rule { what: "patch", choose: patch, show: |c| side(c.data.patch) },
    Rule { what: "batch", choose: batch, show: |c| c.train.batch_size.to_string() },
    Rule { what: "depth", choose: depth, show: |c| c.model.depth.to_string() },
    Rule { what: "cut where", choose: sampler, show: |c| sampler_words(&c.data.sampler) },
    Rule { what: "loss", choose: loss, show: |c| loss_words(&c.loss) },
    Rule { what: "turns", choose: symmetry, show: turns_words },
    Rule { what: "warps", choose: warps, show: warps_words },
    Rule { what: "views", choose: views, show: |c| c.predict.tta.name().to_owned() },
    Rule { what: "objects", choose: objects, show: objects_words },
];

/// What to hold out, and why.
pub(super) fn held_out(dataset: &dyn Dataset) -> Result<(ValSpec, String), DataError> {
    Ok(match (dataset.len(), dataset.validation_from()) {
        (_, Some(_)) => (ValSpec::Percent(20.0), "a folder of its own".to_owned()),
        (0..=1, _) => (ValSpec::None, "a single image: all of it is needed to train".to_owned()),
        (n, _) if dataset.is_stack() => {
            let share = if n < 5 { 100.0 / n as f64 } else { 20.0 };
            (ValSpec::Percent(share), "the last slices: neighbours are alike, so none is mixed in".to_owned())
        }
        _ if neighbours_alike(dataset)? => {
            let why = "the last images: neighbours are alike, as slices or frames are, so none is mixed in";
            (ValSpec::Percent(20.0), why.to_owned())
        }
        (n, _) => {
            let fraction = if n < 5 { 1.0 / n as f64 } else { 0.2 };
            (ValSpec::Random { fraction, seed: 0 }, "drawn at random: single images".to_owned())
        }
    })
}

/// Mean and deviation, or percentiles where a few values lie far out.
fn normalization(facts: &Facts<'_>, c: &mut RunConfig) -> String {
    if let Some(tails) = facts.survey.tails.iter().find(|tails| tails.are_outliers()) {
        c.data.normalization = NormalizationKind::Percentile;
        return format!("a few values lie far from all others: {}; they do not move percentiles", tails.in_words());
    }
    c.data.normalization = NormalizationKind::MeanStd;
    let list = |v: &[f64]| v.iter().map(|x| short(*x)).collect::<Vec<_>>().join(", ");
    format!("mean {}, deviation {} over {} images", list(&facts.survey.mean), list(&facts.survey.std), facts.train)
}

fn patch(facts: &Facts<'_>, c: &mut RunConfig) -> String {
    let survey = facts.survey;
    let (thickest, step) = (thickest(survey), 1usize << c.model.depth);
    let wanted =
        thickest.map_or(PATCH, |t| ((CONTEXT * t) as usize).clamp(PATCH, LARGEST_PATCH)).next_multiple_of(step);
    let [_, (w, h), _] = survey.sizes;
    let fits = (w.min(h) / step * step).max(step.min(LARGEST_PATCH));
    c.data.patch = wanted.min(fits);
    match thickest {
        _ if fits < wanted => format!("images of {w}×{h} hold no larger one"),
        Some(t) if wanted > PATCH => format!("{CONTEXT} times as wide as objects are thick, {} px", short(t)),
        Some(t) => format!("objects {} px thick: this is context enough", short(t)),
        None => "context enough for most textures".to_owned(),
    }
}

/// The thickest class but the most frequent one.
fn thickest(survey: &Survey) -> Option<f64> {
    let most = survey.classes.iter().map(|c| c.share).fold(0.0, f64::max);
    survey.classes.iter().filter(|c| c.share < most).filter_map(|c| c.thickness).reduce(f64::max)
}

/// The thinnest class.
fn thinnest(survey: &Survey) -> Option<f64> {
    survey.classes.iter().filter(|c| c.share > 0.0).filter_map(|c| c.thickness).reduce(f64::min)
}

fn batch(_: &Facts<'_>, c: &mut RunConfig) -> String {
    let pixels = (c.data.patch * c.data.patch).max(1);
    c.train.batch_size = (BATCH_PIXELS / pixels).clamp(1, 16);
    let steady = "small batches make many steps in the time";
    match c.train.batch_size {
        1 => "one such patch is many pixels".to_owned(),
        2 => steady.to_owned(),
        n => format!("{n} such patches are as many pixels as two of {PATCH}×{PATCH}"),
    }
}

fn depth(_: &Facts<'_>, c: &mut RunConfig) -> String {
    let most = if c.data.patch == 0 { 4 } else { (c.data.patch / 8).max(2).ilog2() as usize };
    c.model.depth = most.min(4);
    match c.model.depth {
        4 => "the U-Net's own four".to_owned(),
        n => format!("{n} leave 8 pixels of such a patch at the bottom"),
    }
}

fn sampler(facts: &Facts<'_>, c: &mut RunConfig) -> String {
    let rarest = rarest(facts.survey);
    let (w, h) = facts.survey.sizes[1];
    let cut = c.data.patch > 0 && (w > c.data.patch || h > c.data.patch);
    match rarest.filter(|r| r.share < RARE && cut) {
        Some(r) => {
            c.data.sampler = Sampler::Foreground { share: 0.5 };
            format!("a class of {} of the pixels is easily missed", percent(r.share))
        }
        None => {
            c.data.sampler = Sampler::Random;
            rarest.map_or_else(String::new, |r| format!("the rarest class has {} of the pixels", percent(r.share)))
        }
    }
}

fn rarest(survey: &Survey) -> Option<&ClassSurvey> {
    survey.classes.iter().filter(|c| c.share > 0.0).min_by(|a, b| a.share.total_cmp(&b.share))
}

/// Cross-entropy and Dice of the whole batch, classes weighed by one over the root of their shares. Of two classes Dice is that of the
/// rarer one: of the common one it says little.
fn loss(facts: &Facts<'_>, c: &mut RunConfig) -> String {
    let shares: Vec<f64> = facts.survey.classes.iter().map(|c| c.share.max(1e-4)).collect();
    let mut weights: Vec<f64> = shares.iter().map(|s| (1.0 / s).sqrt()).collect();
    // Weights of mean 1 over the pixels, none more than ten times another.
    let mean: f64 = weights.iter().zip(&shares).map(|(w, s)| w * s).sum::<f64>() / shares.iter().sum::<f64>();
    let least = weights.iter().copied().fold(f64::MAX, f64::min);
    weights.iter_mut().for_each(|w| *w = two_digits(w.min(10.0 * least) / mean));
    let (pos_weight, class_weights) = match &weights[..] {
        [zero, one] => (two_digits(one / zero), vec![]),
        _ => (1.0, weights.clone()),
    };
    let common = shares.len() == 2 && shares[1] > shares[0];
    c.loss = LossConfig::DiceCe {
        ce_weight: 1.0,
        dice_weight: 1.0,
        pos_weight,
        class_weights,
        scope: Scope::Batch,
        smooth: 1.0,
        background: true,
        classes: if common { vec![0] } else { vec![] },
    };
    let shares: Vec<String> = facts.survey.classes.iter().map(|c| percent(c.share)).collect();
    format!("classes have {} of the pixels; weighed by one over the root of that", shares.join(", "))
}

/// Affinities, where a network is wide enough and one class parts another into many: pairs of pixels that reach over what parts them, and three times as far.
pub(super) fn pairs(facts: &Facts<'_>, c: &mut RunConfig) -> String {
    c.affinity = AffinityConfig::default();
    if c.model.width < PAIRED {
        return "a narrow network learns no more by them".to_owned();
    }
    let Some((objects, thickness)) = parted(facts.survey) else {
        return "no class lies thinly between the many parts of another".to_owned();
    };
    let near = (thickness + 2.0).round() as usize;
    (c.affinity.distances, c.affinity.class) = (vec![near, 3 * near], objects);
    let (class, parts) = (&facts.survey.classes[objects], facts.survey.classes[objects].parts);
    format!("{parts:.0} parts of {} an image, {} px apart: a gap joins two", class.value, short(thickness))
}

/// Of two classes the one whose many parts the other, thinner one, lies between, and how thick that is in pixels.
fn parted(survey: &Survey) -> Option<(usize, f64)> {
    let [zero, one] = &survey.classes[..] else { return None };
    let (objects, class, between) = if one.parts >= zero.parts { (1, one, zero) } else { (0, zero, one) };
    let (inside, thickness) = (class.thickness?, between.thickness?);
    let is_parted = class.parts >= MANY && thickness < inside && thickness <= THIN;
    is_parted.then_some((objects, thickness))
}

/// A class that lies high or low in the images, surely and by much.
fn upright(survey: &Survey) -> Option<&ClassSurvey> {
    let off = |c: &ClassSurvey| c.height.map_or(0.0, |h| (h - 0.5).abs());
    let sure = |c: &&ClassSurvey| c.share > 0.02 && off(c) > 0.1 && c.uprightness.is_some_and(|u| u > SURELY);
    survey.classes.iter().filter(sure).max_by(|a, b| off(a).total_cmp(&off(b))).filter(|_| !survey.is_stack)
}

fn symmetry(facts: &Facts<'_>, c: &mut RunConfig) -> String {
    match upright(facts.survey) {
        Some(class) => {
            (c.augment.symmetry, c.augment.rotate_degrees) = (Symmetry::Mirror, 10.0);
            let height = percent(class.height.unwrap_or_default());
            format!("images have an upper end: class {} lies at {height} of the height", class.value)
        }
        None => {
            (c.augment.symmetry, c.augment.rotate_degrees) = (Symmetry::D4, 180.0);
            "no class lies high or low: any turn is as likely".to_owned()
        }
    }
}

/// Elastic warps as coarse as the thinnest class is thick: 8 px on a grid of 48 for the membranes of ISBI 2012.
fn warps(facts: &Facts<'_>, c: &mut RunConfig) -> String {
    let a = &mut c.augment;
    (a.warp_probability, a.scale, a.shear) = (0.9, 0.2, 0.0);
    a.interpolation = Interpolation::Bicubic;
    let thickness = thinnest(facts.survey).unwrap_or(6.0);
    if upright(facts.survey).is_some() {
        (a.elastic_sigma, a.elastic_spacing) = (0.0, 64.0);
        return "what has an upper end keeps its shape".to_owned();
    }
    let spacing = (8.0 * thickness).clamp(24.0, 96.0).round();
    (a.elastic_sigma, a.elastic_spacing) = ((spacing / 6.0).round() as f32, spacing as f32);
    format!("the thinnest class is {} px thick", short(thickness))
}

fn views(facts: &Facts<'_>, c: &mut RunConfig) -> String {
    match upright(facts.survey) {
        Some(_) => {
            c.predict.tta = Augmentation::None;
            "images have an upper end".to_owned()
        }
        None => {
            c.predict.tta = Augmentation::D4;
            "predictions are the mean over all turns and mirrorings".to_owned()
        }
    }
}

/// Objects that fill the images are not parted wherever the network is unsure, but where a gap joins large ones.
fn objects(facts: &Facts<'_>, c: &mut RunConfig) -> String {
    c.predict.objects = Arrangement::Scattered;
    let Some((class, _)) = parted(facts.survey).filter(|(i, _)| facts.survey.classes[*i].share > 0.5) else {
        return "no class fills the images in many parts".to_owned();
    };
    c.predict.objects = Arrangement::Packed { class: class as u8 };
    let found = &facts.survey.classes[class];
    let (share, parts) = (percent(found.share), found.parts);
    format!("{share} of the pixels in {parts:.0} parts an image: large ones that a gap joins are parted")
}

fn objects_words(c: &RunConfig) -> String {
    match c.predict.objects {
        Arrangement::Scattered => "as usual".to_owned(),
        Arrangement::Packed { class } => format!("packed, class {class}"),
    }
}

fn words(kind: &NormalizationKind) -> String {
    let name = NormalizationKind::ALL.iter().find(|(_, k)| k == kind).map_or("", |(name, _)| name);
    name.to_owned()
}

fn side(patch: usize) -> String {
    if patch == 0 { "whole images".to_owned() } else { format!("{patch}×{patch}") }
}

fn sampler_words(sampler: &Sampler) -> String {
    match sampler {
        Sampler::Foreground { share } => format!("{} around rare classes", percent(f64::from(*share))),
        Sampler::Grid { overlap } => format!("on a grid, {overlap} px shared"),
        _ => "anywhere".to_owned(),
    }
}

fn loss_words(loss: &LossConfig) -> String {
    let name = match loss {
        LossConfig::DiceCe { classes, .. } if !classes.is_empty() => {
            format!("dice of class {} + ce", classes.iter().map(usize::to_string).collect::<Vec<_>>().join(", "))
        }
        _ => loss.name().replace('_', " + "),
    };
    match loss {
        LossConfig::DiceCe { class_weights, .. } if !class_weights.is_empty() => {
            format!("{name}, class weights {}", class_weights.iter().map(f64::to_string).collect::<Vec<_>>().join(" "))
        }
        LossConfig::DiceCe { pos_weight, .. } | LossConfig::Bce { pos_weight } if *pos_weight != 1.0 => {
            format!("{name}, class 1 × {pos_weight}")
        }
        _ => name,
    }
}

pub(super) fn pairs_words(c: &RunConfig) -> String {
    let far: Vec<String> = c.affinity.distances.iter().map(usize::to_string).collect();
    if far.is_empty() { "none".to_owned() } else { format!("of pixels {} px apart", far.join(" and ")) }
}

fn turns_words(c: &RunConfig) -> String {
    let symmetry = match c.augment.symmetry {
        Symmetry::None => "none mirrored",
        Symmetry::Mirror => "mirrored sideways",
        Symmetry::Flips => "mirrored",
        Symmetry::D4 => "mirrored, turned",
    };
    match c.augment.rotate_degrees {
        0.0 => symmetry.to_owned(),
        degrees => format!("{symmetry}, ±{degrees}°"),
    }
}

pub(super) fn warps_words(c: &RunConfig) -> String {
    let a = &c.augment;
    match (a.elastic_sigma == 0.0, a.scale == 0.0) {
        (true, true) => return "none".to_owned(),
        (true, false) => return format!("e^±{}, no elastic", a.scale),
        (false, _) => {}
    }
    format!("e^±{}, elastic {}/{} px", a.scale, a.elastic_sigma, a.elastic_spacing)
}

/// To two significant digits.
fn two_digits(v: f64) -> f64 {
    if v <= 0.0 || !v.is_finite() {
        return v;
    }
    let unit = 10f64.powi(v.log10().floor() as i32 - 1);
    // Through its decimal text: 0.53, not 0.53000000000000003.
    format!("{:.4}", (v / unit).round() * unit).parse().unwrap_or(v)
}

/// A number as people write it.
pub(super) fn short(v: f64) -> String {
    if v.abs() >= 100.0 { format!("{v:.0}") } else { format!("{v:.1}") }
}

fn percent(share: f64) -> String {
    let p = 100.0 * share;
    if p < 1.0 { format!("{p:.1} %") } else { format!("{p:.0} %") }
}
