//! Schedules behind a warm-up, by step and by epoch, against PyTorch's `SequentialLR` (`fixtures/schedules.json`, made by
//! xtask/reference/schedules_behind_warmup.py).
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use serde::Deserialize;
use unet_train::RunConfig;
use unet_train::config::Warmup;
use unet_train::schedule::Length;

#[derive(Deserialize)]
struct Fixture {
    steps: u64,
    per_epoch: u64,
    cases: Vec<Case>,
}

/// One run's learning rates, as shares of the optimizer's.
#[derive(Deserialize)]
struct Case {
    /// The `[schedule]` of a configuration.
    typed: String,
    warmup: u64,
    from: f64,
    rates: Vec<f64>,
}

#[test]
fn every_schedule_behind_a_warm_up_is_pytorchs_sequence_of_the_two() {
    let fixture: Fixture = serde_json::from_str(include_str!("fixtures/schedules.json")).unwrap();
    let length = Length { steps: fixture.steps, per_epoch: fixture.per_epoch };
    let mut seen = BTreeSet::new();
    for Case { typed, warmup, from, rates } in fixture.cases {
        let text = format!("schedule = {{ {typed} }}\nwarmup = {{ steps = {warmup}, from = {from:?} }}");
        let config = RunConfig::from_toml(&text, "test", Some("tutorial")).unwrap();
        assert_eq!(config.warmup, Warmup { steps: warmup, from });
        assert_eq!(rates.len() as u64, length.steps);
        for (step, expected) in (0..).zip(&rates) {
            let found = config.schedule.factor(step, length, config.warmup);
            assert!((found - expected).abs() < 1e-9, "{text}\nstep {step}: {found}, PyTorch's {expected}");
        }
        let by_epoch = typed.contains("'epoch'");
        let changes = (warmup as usize + 1..rates.len()).filter(|i| rates[*i] != rates[i - 1]);
        for at in changes.filter(|_| by_epoch) {
            assert!((at as u64 - warmup).is_multiple_of(length.per_epoch), "{text}\nmoves at step {at}");
        }
        seen.insert((config.schedule.name(), by_epoch, warmup));
    }
    let both = |name| [(name, false, 6), (name, false, 8), (name, true, 6), (name, true, 8)];
    let steps = |name| [(name, false, 6), (name, false, 8)];
    let all = [both("step"), both("cosine"), both("poly")].concat();
    assert_eq!(seen, all.into_iter().chain(steps("constant")).chain(steps("one_cycle")).collect());
}
