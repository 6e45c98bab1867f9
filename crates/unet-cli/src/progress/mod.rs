//! A run as it goes, for people: [`TrainingProgress`] watches a trainer, [`Counter`] counts finished images. A terminal gets bars
//! below a growing table, a pipe gets the same table as plain lines, and one in between where an epoch takes long.

mod estimate;
pub mod json;
mod sparkline;
pub mod text;

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use unet_model::{Norm, Options};
use unet_train::observe::{Best, EpochRecord, Event, Observer, RunPlan, StepEvent};
use unet_train::{RunConfig, TrainError};

use self::estimate::Estimate;
use self::sparkline::Sparkline;
use crate::terminal::Terminal;

/// In a pipe, a line at least this often.
const PLAIN_EVERY: Duration = Duration::from_secs(30);

/// How a bar is drawn; `{wide_bar}` takes what the words leave of the line.
const BAR: &str = "{prefix:<6} {wide_bar:.cyan/black.bright} {percent:>3} %  {msg}";
const BAR_CHARS: &str = "━╸─";

/// Draws one more bar of `total`, or nothing where there is no terminal.
fn bar(terminal: &Terminal, prefix: &'static str, total: u64) -> Option<ProgressBar> {
    let bars = terminal.bars()?;
    let style = ProgressStyle::with_template(BAR).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::new(total).with_style(style.progress_chars(BAR_CHARS)).with_prefix(prefix);
    Some(bars.add(bar))
}

/// Watches a training run.
pub struct TrainingProgress {
    terminal: Terminal,
    estimate: Estimate,
    epochs: u64,
    steps_per_epoch: u64,
    has_val: bool,
    /// When this epoch began in this session.
    epoch_start: Instant,
    last_line: Instant,
    best: Option<Best>,
    curve: Sparkline,
    /// Sum of losses weighted by images, and images, of this epoch.
    loss: (f64, usize),
    run_bar: Option<ProgressBar>,
    epoch_bar: Option<ProgressBar>,
}

impl TrainingProgress {
    /// Reports to `terminal`.
    pub fn new(terminal: Terminal) -> Self {
        let now = Instant::now();
        Self {
            terminal,
            estimate: Estimate::default(),
            epochs: 0,
            steps_per_epoch: 0,
            has_val: false,
            epoch_start: now,
            last_line: now,
            best: None,
            curve: Sparkline::default(),
            loss: (0.0, 0),
            run_bar: None,
            epoch_bar: None,
        }
    }

    fn start(&mut self, config: &RunConfig, plan: &RunPlan) {
        (self.epochs, self.steps_per_epoch) = (plan.epochs, plan.steps_per_epoch);
        self.has_val = plan.val_images > 0;
        for line in plan_lines(config, plan) {
            self.terminal.line(line);
        }
        self.terminal.line("");
        self.terminal.line(table_head(self.has_val));
        self.run_bar = bar(&self.terminal, "run", plan.total_steps());
        self.epoch_bar = bar(&self.terminal, "epoch", plan.steps_per_epoch);
        if let (Some(run), Some(epoch)) = (&self.run_bar, &self.epoch_bar) {
            run.set_position(plan.first_step);
            epoch.set_message("first step");
        }
        (self.epoch_start, self.last_line) = (Instant::now(), Instant::now());
    }

    fn step(&mut self, step: &StepEvent) {
        self.estimate.step(step.time, step.images);
        self.loss.0 += step.loss * step.images as f64;
        self.loss.1 += step.images;
        self.curve.push(step.loss);
        let loss = self.loss.0 / self.loss.1.max(1) as f64;
        let rate =
            self.estimate.images_per_second().map_or_else(String::new, |r| format!(", {} images/s", text::rate(r)));
        let left = self.left(step);
        if let (Some(run), Some(epoch)) = (&self.run_bar, &self.epoch_bar) {
            run.set_position(step.step);
            run.set_message(format!("epoch {}/{}{left}{}", step.epoch, self.epochs, self.best_words()));
            epoch.set_position(step.step_in_epoch);
            epoch.set_message(format!("loss {} {}{rate}", text::number(loss), self.curve));
        } else if self.last_line.elapsed() >= PLAIN_EVERY && step.step_in_epoch < self.steps_per_epoch {
            self.last_line = Instant::now();
            self.terminal.line(format!(
                "        step {}/{}, loss {}{rate}{left}",
                step.step_in_epoch,
                self.steps_per_epoch,
                text::number(loss)
            ));
        }
    }

    fn left(&self, step: &StepEvent) -> String {
        let steps = (self.epochs * self.steps_per_epoch).saturating_sub(step.step);
        match self.estimate.left(steps, self.epochs + 1 - step.epoch.min(self.epochs)) {
            Some(left) => format!(", {} left", text::left(left)),
            None => String::new(),
        }
    }

    fn best_words(&self) -> String {
        let Some(best) = self.best.as_ref().filter(|b| b.value.is_finite()) else { return String::new() };
        let at = if best.epoch == 0 { "the start".to_owned() } else { format!("epoch {}", best.epoch) };
        format!(", best {} {} ({at})", best.metric.replace('_', " "), text::number(best.value))
    }

    fn validating(&self, done: usize, total: usize) {
        if let Some(bar) = &self.epoch_bar {
            bar.set_message(format!("validating {done}/{total}"));
        }
    }

    fn epoch(&mut self, record: &EpochRecord) {
        self.estimate.epoch(self.epoch_start.elapsed());
        self.epoch_start = Instant::now();
        self.last_line = Instant::now();
        self.loss = (0.0, 0);
        self.terminal.line(table_row(record, self.epochs, self.has_val));
        if let Some(bar) = &self.epoch_bar {
            bar.set_position(0);
        }
    }

    /// Takes the bars away.
    fn clear(&mut self) {
        for bar in [self.epoch_bar.take(), self.run_bar.take()].into_iter().flatten() {
            bar.finish_and_clear();
        }
    }
}

impl Observer for TrainingProgress {
    fn on_event(&mut self, event: &Event<'_>) -> Result<(), TrainError> {
        match event {
            Event::Start { config, plan } => self.start(config, plan),
            Event::Step(step) => self.step(step),
            Event::Validating { done, total } => self.validating(*done, *total),
            Event::Epoch(record) => self.epoch(record),
            Event::Skipped { step, problem } => {
                self.terminal.line(format!("  left out  a batch for step {step}: {problem}"))
            }
            Event::Unscored { epoch, problem } => {
                self.terminal.line(format!("  left out  the scores of epoch {epoch}: {problem}"))
            }
            Event::Best(best) => self.best = Some((*best).clone()),
            Event::Baseline { best, .. } => {
                self.best = Some((*best).clone());
                let (metric, value) = (best.metric.replace('_', " "), text::number(best.value));
                self.terminal.line(format!("  start     the model that it starts from: {metric} {value}"));
            }
            Event::Stopped { .. } | Event::End(_) => self.clear(),
            _ => {}
        }
        Ok(())
    }
}

impl Drop for TrainingProgress {
    /// Also where a run ends in an error, which is printed below.
    fn drop(&mut self) {
        self.clear();
    }
}

/// What a run is about to do, a fact a line.
fn plan_lines(config: &RunConfig, plan: &RunPlan) -> Vec<String> {
    let batch = config.train.batch_size as u64;
    let step = match config.data.patch {
        0 => text::count(batch, "whole image"),
        side => format!("{batch} × {side}×{side} pixels"),
    };
    let held_out = match plan.val_images {
        0 => "none held out".to_owned(),
        n => format!("{n} held out"),
    };
    let model = &plan.model;
    let mut lines = vec![
        format!(
            "  images    {} to train on, {held_out}; {} {}",
            plan.train_images,
            if config.data.multi_label { "classes that may overlap:" } else { "mask values" },
            text::values(&plan.class_values)
        ),
        format!("  network   {}, {} weights", network(model), text::large(plan.parameters)),
        format!(
            "  training  {} of {}, {step} a step",
            text::count(plan.epochs, "epoch"),
            text::count(plan.steps_per_epoch, "step")
        ),
        format!(
            "  computing {}, {}, {}, about {} MiB",
            plan.tier,
            text::count(plan.threads as u64, "thread"),
            plan.precision,
            plan.memory.total() >> 20
        ),
    ];
    if plan.first_step > 0 {
        lines.push(format!("  resuming  after step {} of {}", plan.first_step, plan.total_steps()));
    }
    lines.extend(plan.notes.iter().map(|note| format!("  note      {note}")));
    lines
}

/// A network in a few words.
pub fn network(model: &unet_model::UNetConfig) -> String {
    let upsampling = match model.upsampling {
        unet_model::Upsampling::Bilinear => "bilinear",
        unet_model::Upsampling::BilinearWide => "bilinear-wide",
        unet_model::Upsampling::Transposed => "transposed",
    };
    let options = option_words(&model.options);
    format!(
        "width {}, {}, {upsampling}{options}, {}, {}",
        model.width,
        text::count(model.depth as u64, "level"),
        text::count(model.in_channels as u64, "channel"),
        text::count(model.out_channels as u64, "logit")
    )
}

/// What a network has beside the plain one's layers, each behind a comma.
fn option_words(options: &Options) -> String {
    let Options { norm, negative_slope, dropout, residual, valid, strided, max_width, deep_supervision, affinities } =
        options;
    let words = [
        (*norm != Norm::Batch).then(|| format!("norm {norm}")),
        (*negative_slope > 0.0).then(|| format!("leaky {negative_slope}")),
        (*dropout > 0.0).then(|| format!("dropout {dropout}")),
        residual.then(|| "residual".to_owned()),
        valid.then(|| "no padding".to_owned()),
        strided.then(|| "strided".to_owned()),
        (*max_width > 0).then(|| format!("at most {max_width} channels")),
        deep_supervision.then(|| "deep supervision".to_owned()),
        (*affinities > 0).then(|| format!("{affinities} affinities")),
    ];
    words.into_iter().flatten().fold(String::new(), |all, word| all + ", " + &word)
}

/// The learning rate over a run of so many steps an epoch, as a curve and in words.
pub fn schedule_line(config: &RunConfig, steps_per_epoch: u64) -> String {
    const POINTS: u64 = 256;
    let length = unet_train::schedule::Length {
        steps: config.train.epochs.saturating_mul(steps_per_epoch),
        per_epoch: steps_per_epoch,
    };
    let mut curve = Sparkline::default();
    for i in 0..POINTS.min(length.steps) {
        let step = i * length.steps / POINTS.min(length.steps);
        curve.push(config.schedule.factor(step, length, config.warmup));
    }
    let warmup = match config.warmup.steps {
        0 => String::new(),
        n => format!(" after a rise over {}", text::count(n, "step")),
    };
    let (name, lr) = (config.schedule.name().replace('_', " "), text::number(config.optimizer.lr()));
    format!("{curve} {name}{warmup}, highest {lr} ({})", config.optimizer.name())
}

/// The head of the table of epochs.
pub fn table_head(has_val: bool) -> String {
    let val = if has_val { format!("{:>10}{:>10}", "val loss", "val Dice") } else { String::new() };
    format!("{:>8}{:>12}{val}{:>11}{:>14}", "epoch", "train loss", "images/s", "time")
}

/// An epoch's row in that table.
pub fn table_row(record: &EpochRecord, epochs: u64, has_val: bool) -> String {
    let val = match (&record.val, has_val) {
        (Some(v), _) => {
            let dice = v.scores.mean_dice.map_or_else(|| "-".to_owned(), text::number);
            format!("{:>10}{dice:>10}", text::number(v.loss))
        }
        (None, true) => format!("{:>10}{:>10}", "-", "-"),
        (None, false) => String::new(),
    };
    let time = Duration::try_from_secs_f64(record.seconds).map_or_else(|_| "-".to_owned(), text::duration);
    let row = format!(
        "{:>8}{:>12}{val}{:>11}{time:>14}{}",
        format!("{}/{epochs}", record.epoch),
        text::number(record.train_loss),
        text::rate(record.images_per_second),
        if record.best { "  best" } else { "" }
    );
    row.trim_end().to_owned()
}

/// What a counter's bar advances by, for one of what it counts.
const PARTS: u64 = 1000;

/// Counts images as they are finished.
pub struct Counter {
    terminal: Terminal,
    verb: &'static str,
    bar: Option<ProgressBar>,
    total: usize,
    done: f64,
    start: Instant,
    last_line: Instant,
}

impl Counter {
    /// Starts at 0 of `total`; `verb` says what is done to each (`predicted`).
    pub fn new(terminal: &Terminal, prefix: &'static str, verb: &'static str, total: usize) -> Self {
        let now = Instant::now();
        let bar = bar(terminal, prefix, total as u64 * PARTS);
        Self { terminal: terminal.clone(), verb, bar, total, done: 0.0, start: now, last_line: now }
    }

    /// One more; `what` names it.
    pub fn tick(&mut self, what: &str) {
        self.reach(self.done + 1.0, what);
    }

    /// So many are done, the one at hand, named `what`, in part.
    pub fn reach(&mut self, done: f64, what: &str) {
        self.done = done;
        let (whole, part, total) = (done.floor(), done.fract(), self.total as f64);
        let mean = self.start.elapsed().as_secs_f64() / done;
        let left = Duration::try_from_secs_f64(mean * (total - done).max(0.0));
        let left = left.map_or_else(|_| String::new(), |d| format!(", {} left", text::left(d)));
        let at = match part > 0.0 {
            true => format!("{whole}/{total}, {:.0} % of the next", 100.0 * part),
            false => format!("{whole}/{total}"),
        };
        if let Some(bar) = &self.bar {
            bar.set_position((done * PARTS as f64) as u64);
            bar.set_message(format!("{at}{left}"));
        } else if self.last_line.elapsed() >= PLAIN_EVERY && done < total {
            self.last_line = Instant::now();
            self.terminal.line(format!("{} {at} ({what}){left}", self.verb));
        }
    }

    /// How many are done.
    pub fn done(&self) -> f64 {
        self.done
    }

    /// How long it has been going.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(val: Option<&str>) -> EpochRecord {
        EpochRecord {
            epoch: 3,
            step: 72,
            train_loss: 0.4971,
            lr: 1e-5,
            grad_norm: 1.0,
            val: val.map(|v| serde_json::from_str(v).expect("a validation record")),
            best: true,
            seconds: 125.0,
            images_per_second: 0.213,
        }
    }

    #[test]
    fn the_best_so_far_is_told_by_what_chose_it() {
        let mut progress = TrainingProgress::new(Terminal::hushed());
        let mut words = |epoch, value| {
            let best = Best { epoch, metric: "val_v_rand".to_owned(), value };
            progress.on_event(&Event::Best(&best)).expect("nothing is written");
            progress.best_words()
        };
        assert_eq!(words(3, 0.98765), ", best val v rand 0.9877 (epoch 3)");
        assert_eq!(words(0, 0.5), ", best val v rand 0.5000 (the start)");
        assert_eq!(words(1, f64::NAN), "");
    }

    #[test]
    fn a_schedule_is_drawn_from_its_own_numbers() {
        let line = |text: &str| schedule_line(&RunConfig::from_toml(text, "test", Some("quick")).expect("valid"), 25);
        let cycle = line("");
        assert!(cycle.contains('█') && cycle.contains("one cycle, highest 0.0010 (adamw)"), "{cycle}");
        let falling = line("schedule = { kind = 'poly' }\nwarmup.steps = 7");
        assert!(falling.contains("poly after a rise over 7 steps"), "{falling}");
        assert!(line("schedule = { kind = 'constant' }").starts_with("▁▁"), "a level line");
    }

    #[test]
    fn rows_stand_under_their_head_within_80_columns() {
        let val = r#"{"images": 6, "loss": 0.312, "pixel_accuracy": 0.9, "pixel_error": 0.1, "per_class": [],
            "mean_dice": 0.8712, "mean_iou": null}"#;
        for (has_val, val) in [(true, Some(val)), (false, None)] {
            let (head, row) = (table_head(has_val), table_row(&record(val), 40, has_val));
            assert_eq!(row.strip_suffix("  best").map(str::len), Some(head.len()), "{head}\n{row}");
            assert!(row.len() <= 80, "{row}");
            assert!(row.contains("3/40") && row.contains("0.4971") && row.contains("2 min 05 s"), "{row}");
            assert_eq!(row.contains("0.8712"), has_val);
        }
    }
}
