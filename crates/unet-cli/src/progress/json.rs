//! A run as it goes, for programs: a JSON document a line on stderr, each with its `event`.

use std::io::Write;

use serde_json::{Value, json};
use unet_train::TrainError;
use unet_train::observe::{Ended, Event, Observer};

/// Writes every event of a training run.
pub struct JsonLog;

impl Observer for JsonLog {
    fn on_event(&mut self, event: &Event<'_>) -> Result<(), TrainError> {
        if let Some(document) = document(event) {
            write(&document);
        }
        Ok(())
    }
}

/// Writes one document as a line. A reader that has gone away is not an error of the work that goes on.
pub fn write(document: &Value) {
    let _ = writeln!(std::io::stderr(), "{document}");
}

/// Why a run ended, as a word.
pub fn ended(ended: Ended) -> &'static str {
    match ended {
        Ended::Epochs => "epochs",
        Ended::Patience => "patience",
        Ended::Time => "time",
        Ended::Asked => "asked",
    }
}

fn document(event: &Event<'_>) -> Option<Value> {
    Some(match event {
        Event::Start { config, plan } => json!({
            "event": "start",
            "data": plan.data,
            "train_images": plan.train_images,
            "val_images": plan.val_images,
            "parameters": plan.parameters,
            "epochs": plan.epochs,
            "steps_per_epoch": plan.steps_per_epoch,
            "first_step": plan.first_step,
            "memory_bytes": plan.memory.total(),
            "tier": plan.tier,
            "precision": plan.precision.to_string(),
            "threads": plan.threads,
            "notes": plan.notes,
            "config": config,
        }),
        Event::Step(s) => json!({
            "event": "step",
            "epoch": s.epoch,
            "step": s.step,
            "images": s.images,
            "loss": s.loss,
            "lr": s.lr,
            "grad_norm": s.grad_norm,
            "seconds": s.time.as_secs_f64(),
        }),
        Event::Skipped { step, problem } => json!({"event": "skipped", "step": step, "problem": problem}),
        Event::Unscored { epoch, problem } => json!({"event": "unscored", "epoch": epoch, "problem": problem}),
        Event::Baseline { record, best } => json!({"event": "baseline", "val": record, "best": best}),
        Event::Epoch(record) => json!({"event": "epoch", "record": record}),
        Event::Best(best) => json!({"event": "best", "best": best}),
        Event::Checkpoint { path, best } => {
            json!({"event": "checkpoint", "path": path.display().to_string(), "best": best})
        }
        Event::Stopped { run, step } => {
            json!({"event": "stopped", "run": run.display().to_string(), "step": step})
        }
        Event::End(summary) => json!({
            "event": "end",
            "run": summary.run.display().to_string(),
            "step": summary.step,
            "ended": ended(summary.ended),
            "best": summary.best,
            "seconds": summary.time.as_secs_f64(),
        }),
        _ => return None,
    })
}
