//! The page itself: sections of HTML, everything from outside escaped.

use std::fmt::{self, Display, Formatter};
use std::path::Path;

use unet_train::RunConfig;
use unet_train::metric::Scores;
use unet_train::observe::EpochRecord;

use super::chart::{Curve, chart};
use super::examples::{Example, Scored};
use super::{base64, escaped};
use crate::progress::text;

const STYLE: &str = include_str!("page.css");

/// What the page tells of.
pub struct Page<'a> {
    pub run: &'a Path,
    pub config: &'a RunConfig,
    pub config_text: &'a str,
    pub records: &'a [EpochRecord],
    pub scored: Option<&'a Scored>,
}

impl Display for Page<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let name = self.run.file_name().unwrap_or(self.run.as_os_str()).to_string_lossy();
        let name = escaped(&name);
        write!(
            f,
            "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
             <title>{name}</title><style>{STYLE}</style></head>\n<body>\n<h1>{name}</h1>\n<p class=\"lead\">{}</p>\n",
            escaped(&self.lead())
        )?;
        self.cards(f)?;
        self.curves(f)?;
        self.validation(f)?;
        writeln!(f, "<h2>Configuration</h2>\n<pre>{}</pre>", escaped(self.config_text))?;
        writeln!(f, "<h2>Environment</h2>\n<pre>{}</pre>\n</body>\n</html>", escaped(&environment()))
    }
}

impl Page<'_> {
    fn lead(&self) -> String {
        let data = self.config.data.path.as_ref().map_or_else(|| "its data".to_owned(), |p| p.display().to_string());
        format!(
            "A U-Net trained on {data}, held out: {}; {} of {} epochs",
            self.config.data.val,
            self.records.len(),
            self.config.train.epochs
        )
    }

    /// The numbers that one looks for first.
    fn cards(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut cards = Vec::new();
        if let Some(best) = self.records.iter().rfind(|r| r.best) {
            cards.push((best.epoch.to_string(), "best epoch".to_owned()));
            if let Some(val) = &best.val {
                cards.push((text::number(val.loss), "validation loss there".to_owned()));
                cards.extend(val.scores.mean_dice.map(|d| (text::number(d), "mean Dice there".to_owned())));
                let own =
                    val.metrics.iter().map(|(name, v)| (text::number(*v), format!("{} there", name.replace('_', " "))));
                cards.extend(own);
            }
        }
        if let Some(last) = self.records.last() {
            cards.push((text::number(last.train_loss), "last training loss".to_owned()));
            cards.push((last.step.to_string(), "steps".to_owned()));
        }
        let seconds = self.records.iter().map(|r| r.seconds).sum();
        let time = std::time::Duration::try_from_secs_f64(seconds).unwrap_or_default();
        cards.push((text::duration(time), "training time".to_owned()));
        writeln!(f, "<div class=\"cards\">")?;
        for (value, what) in cards {
            write!(f, "<div class=\"card\"><b>{}</b><span>{}</span></div>", escaped(&value), escaped(&what))?;
        }
        writeln!(f, "</div>")
    }

    fn curves(&self, f: &mut Formatter<'_>) -> fmt::Result {
        type Value<'a> = &'a dyn Fn(&EpochRecord) -> Option<f64>;
        let of = |name, value: Value<'_>| {
            let points = self.records.iter().filter_map(|r| Some((r.epoch as f64, value(r)?))).collect();
            Curve { name, points }
        };
        let loss = [of("training", &|r| Some(r.train_loss)), of("validation", &|r| Some(r.val.as_ref()?.loss))];
        let scores = [
            of("mean Dice", &|r| r.val.as_ref()?.scores.mean_dice),
            of("mean IoU", &|r| r.val.as_ref()?.scores.mean_iou),
            of("pixel accuracy", &|r| r.val.as_ref()?.scores.pixel_accuracy),
        ];
        let kept = |curves: &[Curve<'_>]| -> Vec<usize> {
            (0..curves.len()).filter(|i| !curves[*i].points.is_empty()).collect()
        };
        let drawn = kept(&loss).len();
        writeln!(f, "<h2>Curves</h2>\n<div class=\"charts\">")?;
        write!(f, "{}", chart("Loss by epoch", &loss[..drawn.max(1)], None))?;
        write!(f, "{}", chart("Validation scores by epoch", &scores, None))?;
        write!(f, "{}", chart("Learning rate by epoch", &[of("learning rate", &|r| Some(r.lr))], None))?;
        let norm = of("norm of the gradient", &|r| Some(r.grad_norm));
        writeln!(f, "{}</div>", chart("Gradient by epoch", &[norm], None))
    }

    fn validation(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "<h2>On the validation images</h2>")?;
        let Some(scored) = self.scored else {
            return writeln!(f, "<p>No image was held out, or the data is no longer where it was.</p>");
        };
        writeln!(f, "<div class=\"charts\">")?;
        if !scored.curve.is_empty() {
            let curve = Curve { name: "precision over recall of class 1", points: scored.curve.clone() };
            write!(f, "{}", chart("Precision by recall", &[curve], Some((0.0, 1.0))))?;
        }
        writeln!(f, "{}</div>", confusion(scored))?;
        // Fewer images than both ends want are shown once.
        let half = scored.examples.len().div_ceil(2);
        let (worst, best) = scored.examples.split_at(half);
        pictures(f, "Worst examples", worst.iter())?;
        pictures(f, "Best examples", best.iter().rev())
    }
}

fn pictures<'a>(f: &mut Formatter<'_>, title: &str, examples: impl Iterator<Item = &'a Example>) -> fmt::Result {
    writeln!(f, "<h2>{title}</h2>\n<div class=\"pictures\">")?;
    for e in examples {
        let id = escaped(&e.id);
        writeln!(
            f,
            "<figure><figcaption>{id}: Dice {}</figcaption><img alt=\"{id}\" src=\"data:image/png;base64,{}\"></figure>",
            text::number(e.dice),
            base64(&e.png)
        )?;
    }
    writeln!(f, "</div>")
}

/// True classes down, predicted ones across, shares of the true class; each class's scores behind. Of classes that lie over one another the
/// scores alone.
fn confusion(scored: &Scored) -> String {
    let (counts, names) = (&scored.counts, &scored.class_names);
    let scores = Scores::of(counts);
    let cell = |v: Option<f64>| v.map_or_else(|| "-".to_owned(), text::number);
    let across = if counts.is_layered() { 0 } else { names.len() };
    let head: String = names[..across].iter().map(|n| format!("<th>as {}</th>", escaped(n))).collect();
    let mut rows = String::new();
    for (truth, (name, class)) in names.iter().zip(&scores.per_class).enumerate() {
        let actual = counts.actual(truth).max(1) as f64;
        let shares: String =
            (0..across).map(|p| format!("<td>{:.1} %</td>", 100.0 * counts.count(truth, p) as f64 / actual)).collect();
        let rest = [class.dice, class.iou, class.precision, class.recall].map(|v| format!("<td>{}</td>", cell(v)));
        rows += &format!("<tr><th>{}</th>{shares}{}</tr>", escaped(name), rest.concat());
    }
    let title = if counts.is_layered() { "Scores by class" } else { "Confusion matrix" };
    format!(
        "<figure><figcaption>{title}</figcaption><div class=\"scroll\"><table><tr><th>true class</th>{head}\
         <th>Dice</th><th>IoU</th><th>precision</th><th>recall</th></tr>{rows}</table></div></figure>"
    )
}

fn environment() -> String {
    let tier = unet_kernels::Kernels::from_env().map_or_else(|e| e.to_string(), |k| k.tier().to_string());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    format!(
        "unet {}\n{} {}, {threads} threads, {tier} kernels\n",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::OS,
        std::env::consts::ARCH
    )
}
