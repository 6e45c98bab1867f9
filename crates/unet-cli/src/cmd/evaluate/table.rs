//! A [`Report`] as tables of at most 80 columns.

use unet_train::evaluate::{ClassReport, ImageReport, IsbiSection, ObjectSection, Report};

use crate::progress::text;

/// All tables, a row for each image on request.
pub fn of(report: &Report, per_image: bool) -> String {
    let mut parts = vec![pixels(report), shapes(report)];
    parts.extend(report.isbi.as_ref().map(isbi));
    parts.extend(report.objects.as_ref().map(objects));
    if per_image {
        parts.push(images(&report.per_image));
    }
    parts.join("\n")
}

fn pixels(report: &Report) -> String {
    let threshold = report.threshold.map_or_else(String::new, |t| format!(", threshold {t}"));
    let all = &report.pixels;
    let mut lines = vec![
        format!(
            "{}{threshold}: pixel accuracy {}, pixel error {}",
            text::count(report.images as u64, "image"),
            score(all.pixel_accuracy),
            score(all.pixel_error)
        ),
        String::new(),
        format!("{:<14}{:>10}{:>10}{:>12}{:>10}", "mask value", "Dice", "IoU", "precision", "recall"),
    ];
    let row = |name: &str, c: &ClassReport| {
        let s = &c.scores;
        let [dice, iou, precision, recall] = [s.dice, s.iou, s.precision, s.recall].map(score);
        format!("{name:<14}{dice:>10}{iou:>10}{precision:>12}{recall:>10}")
    };
    lines.extend(all.per_class.iter().map(|c| row(&c.value.to_string(), c)));
    lines.push(format!("{:<14}{:>10}{:>10}", "mean", score(all.mean_dice), score(all.mean_iou)));
    if report.images > 1 {
        let mean = &report.image_mean;
        lines.push(format!("{:<14}{:>10}{:>10}", "image by image", score(mean.mean_dice), score(mean.mean_iou)));
    }
    lines.join("\n") + "\n"
}

fn shapes(report: &Report) -> String {
    let head = ["HD95 [px]", "ASD [px]", "boundary F", "clDice", "β0 error", "β1 error"];
    let mut lines = vec![format!("{:<14}{}", "outlines", columns(head.map(str::to_owned)))];
    lines.extend(report.pixels.per_class.iter().map(|class| {
        let s = &class.shape;
        let pixels = [s.hausdorff_95, s.average_surface_distance].map(|v| decimals(v, 2));
        let [f, lines] = [s.boundary_f, s.cl_dice].map(score);
        let [parts, holes] = [s.betti_0_error, s.betti_1_error].map(|v| decimals(v, 1));
        let [hausdorff, distance] = pixels;
        format!("{:<14}{}", class.value, columns([hausdorff, distance, f, lines, parts, holes]))
    }));
    lines.join("\n") + "\n"
}

fn columns(cells: [String; 6]) -> String {
    cells.iter().map(|cell| format!("{cell:>11}")).collect()
}

fn isbi(section: &IsbiSection) -> String {
    let (mean, pooled) = (&section.scores, &section.micro);
    let mut lines = vec![format!("{:<20}{:>12}{:>12}{:>12}", "ISBI 2012", "slice mean", "pooled", "threshold")];
    let mut row = |name: &str, mean: f64, pooled: Option<f64>, threshold: Option<f64>, digits: usize| {
        let threshold = threshold.map_or_else(String::new, |t| format!("{t:.1}"));
        let [a, b] = [Some(mean), pooled].map(|v| v.map_or_else(String::new, |v| format!("{v:.digits$}")));
        lines.push(format!("{name:<20}{a:>12}{b:>12}{threshold:>12}").trim_end().to_owned());
    };
    row("V_rand", mean.v_rand, Some(pooled.v_rand), mean.v_rand_threshold, 4);
    row("V_info", mean.v_info, Some(pooled.v_info), mean.v_info_threshold, 4);
    for (name, cells) in [("grown", &section.grown), ("parted", &section.parted)] {
        let Some(cells) = cells else { continue };
        row(&format!("V_rand, {name}"), cells.v_rand, None, Some(cells.v_rand_threshold), 4);
        row(&format!("V_info, {name}"), cells.v_info, None, Some(cells.v_info_threshold), 4);
    }
    row("Rand error", mean.rand_error, Some(pooled.rand_error), None, 4);
    row("pixel error (1 - F)", mean.pixel_error_f, Some(pooled.pixel_error_f), None, 4);
    row("warping error", mean.warping_error, Some(pooled.warping_error), None, 6);
    lines.join("\n") + "\n"
}

fn objects(section: &ObjectSection) -> String {
    let s = &section.scores;
    let relative =
        s.relative_count_error.map_or_else(String::new, |e| format!("; image by image {:.1} % off", 100.0 * e));
    let [half, three_quarters] = [s.average_precision[0], s.average_precision[5]];
    let rows = [
        ("objects", format!("{} found, {} true{relative}", s.proposal, s.truth)),
        (
            "average precision",
            format!(
                "{half:.4} at IoU 0.5, {three_quarters:.4} at 0.75, {:.4} mean of .5 to .95",
                s.mean_average_precision
            ),
        ),
        (
            "panoptic quality",
            format!(
                "{:.4} = {:.4} segmentation x {:.4} recognition",
                s.panoptic_quality, s.segmentation_quality, s.recognition_quality
            ),
        ),
        ("adapted Rand error", score(section.adapted_rand_error)),
        ("V_rand of objects", format!("{}, V_info {}", score(section.v_rand), score(section.v_info))),
    ];
    rows.map(|(name, value)| format!("{name:<20}{value}")).join("\n") + "\n"
}

fn images(rows: &[ImageReport]) -> String {
    let width = rows.iter().map(|i| i.id.chars().count()).max().unwrap_or(0).max("image".len()) + 1;
    let head = ["accuracy", "Dice", "IoU", "V_rand", "V_info", "AP 0.5", "found/true"];
    let line = |name: &str, cells: [String; 7]| {
        let [cells @ .., last] = cells;
        let cells: String = cells.iter().map(|cell| format!("{cell:>9}")).collect();
        format!("{name:<width$}{cells}{last:>12}").trim_end().to_owned()
    };
    let row = |image: &ImageReport| {
        let (p, isbi) = (&image.pixels, image.isbi.as_ref());
        let objects = image.objects.as_ref().map(|o| &o.scores);
        let numbers = [
            p.pixel_accuracy,
            p.mean_dice,
            p.mean_iou,
            isbi.and_then(|i| i.v_rand),
            isbi.and_then(|i| i.v_info),
            objects.map(|o| o.average_precision[0]),
        ];
        let [a, b, c, d, e, f] = numbers.map(score);
        let count = objects.map_or_else(|| "-".to_owned(), |o| format!("{}/{}", o.proposal, o.truth));
        line(&image.id, [a, b, c, d, e, f, count])
    };
    let rows: Vec<String> = rows.iter().map(row).collect();
    format!("{}\n{}\n", line("image", head.map(str::to_owned)), rows.join("\n"))
}

/// A score, or a dash where there was nothing to count.
fn score(value: Option<f64>) -> String {
    decimals(value, 4)
}

fn decimals(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |v| format!("{v:.digits$}"))
}
