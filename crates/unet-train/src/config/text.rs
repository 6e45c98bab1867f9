//! The configuration as text: what a file leaves out filled in from its recipe, files of older versions migrated, and errors that name the
//! key, its section and the known key that resembles it.

use toml::{Table, Value};

use super::{CONFIG_VERSION, RunConfig};
use crate::TrainError;
use crate::error::nearest;
use crate::recipe::{DEFAULT_RECIPE, recipe};

/// A configuration, and what was done to the text on the way, a sentence each.
pub(super) fn parse(
    text: &str,
    origin: &str,
    default_recipe: Option<&str>,
) -> Result<(RunConfig, Vec<String>), TrainError> {
    let (table, notes) = read(text, origin)?;
    let name = match table.get("recipe") {
        Some(Value::String(name)) => name.as_str(),
        Some(other) => return Err(TrainError::config("recipe", other, "the name of a recipe, in quotes")),
        None => default_recipe.unwrap_or(DEFAULT_RECIPE),
    };
    let config = over(recipe(name)?, table, origin)?;
    config.validate()?;
    Ok((config, notes))
}

/// A configuration with a text laid over it.
pub(super) fn overlay(base: RunConfig, text: &str, origin: &str) -> Result<RunConfig, TrainError> {
    let (table, _) = read(text, origin)?;
    over(base, table, origin)
}

/// Whether the text has every key that the configuration made of it has.
pub(super) fn is_complete(config: &RunConfig, text: &str, origin: &str) -> Result<bool, TrainError> {
    fn holds(all: &Table, some: &Table) -> bool {
        some.iter().all(|(key, value)| match (all.get(key), value) {
            (Some(Value::Table(all)), Value::Table(some)) => holds(all, some),
            (found, _) => found.is_some(),
        })
    }
    let (table, _) = read(text, origin)?;
    Ok(holds(&table, &as_table(config, origin)?))
}

fn read(text: &str, origin: &str) -> Result<(Table, Vec<String>), TrainError> {
    let mut table: Table =
        toml::from_str(text).map_err(|e: toml::de::Error| syntax(origin, e.to_string().trim_end()))?;
    let notes = migrate(&mut table, origin)?;
    Ok((table, notes))
}

fn over(base: RunConfig, table: Table, origin: &str) -> Result<RunConfig, TrainError> {
    let mut merged = as_table(&base, origin)?;
    merge(&mut merged, table);
    merged.try_into().map_err(|e: toml::de::Error| explain(origin, &e))
}

fn as_table(config: &RunConfig, origin: &str) -> Result<Table, TrainError> {
    Table::try_from(config).map_err(|e| syntax(origin, &e.to_string()))
}

fn syntax(origin: &str, problem: &str) -> TrainError {
    TrainError::ConfigSyntax { origin: origin.to_owned(), problem: problem.to_owned() }
}

/// Brings an older file's keys to where they are now; a newer file may hold keys that we do not know: that is said before one is named.
fn migrate(table: &mut Table, origin: &str) -> Result<Vec<String>, TrainError> {
    let newest = i64::from(CONFIG_VERSION);
    let version = match table.get("version") {
        None => newest,
        Some(Value::Integer(v)) if (1..=newest).contains(v) => *v,
        Some(found) => {
            let expected = format!("1 to {CONFIG_VERSION}; a file of a newer version needs a newer program");
            return Err(TrainError::config("version", found, expected));
        }
    };
    let mut notes = Vec::new();
    if version == 1 {
        from_1(table);
        notes.push(format!("{origin}: written for version 1 of the configuration, read as version {CONFIG_VERSION}"));
    }
    if table.contains_key("version") {
        table.insert("version".to_owned(), Value::Integer(newest));
    }
    Ok(notes)
}

/// Version 1 had the warm-up among the numbers of the constant schedule.
fn from_1(table: &mut Table) {
    let Some(Value::Table(schedule)) = table.get_mut("schedule") else { return };
    if let Some(steps) = schedule.remove("warmup_steps") {
        table.insert("warmup".to_owned(), Value::Table(Table::from_iter([("steps".to_owned(), steps)])));
    }
}

/// Lays `over` on `base`, section by section; a section of another `kind` replaces the whole one.
fn merge(base: &mut Table, over: Table) {
    for (key, value) in over {
        match (base.get_mut(&key), value) {
            (Some(Value::Table(b)), Value::Table(o)) => match o.get("kind") {
                Some(kind) if b.get("kind").is_some_and(|k| k != kind) => *b = o,
                _ => merge(b, o),
            },
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}

/// Serde's words for an unknown key turned into ours; other errors stay as they are.
fn explain(origin: &str, error: &toml::de::Error) -> TrainError {
    let text = error.to_string();
    let first = text.lines().find(|l| l.contains("unknown field"));
    let quoted: Vec<&str> = first.map_or_else(Vec::new, |l| l.split('`').skip(1).step_by(2).collect());
    match quoted.split_first() {
        Some((key, known)) => TrainError::UnknownKey {
            origin: origin.to_owned(),
            key: (*key).to_owned(),
            nearest: nearest(key, known.iter().copied()),
            known: known.iter().map(|k| (*k).to_owned()).collect(),
        },
        None => TrainError::ConfigSyntax { origin: origin.to_owned(), problem: text.trim_end().replace('\n', " ") },
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::optim::OptimizerConfig;
    use crate::recipe::RECIPES;

    fn parse(text: &str) -> Result<RunConfig, TrainError> {
        RunConfig::from_toml(text, "run.toml", None)
    }

    #[test]
    fn every_recipe_is_valid_and_repeats_itself_through_its_file() {
        for name in RECIPES {
            let config = RunConfig::recipe(name).unwrap();
            config.validate().unwrap();
            assert_eq!(parse(&config.to_toml().unwrap()).unwrap(), config, "{name}");
        }
    }

    #[test]
    fn what_a_file_leaves_out_comes_from_its_recipe() {
        let config = parse("recipe = 'tutorial'\n[train]\nepochs = 3").unwrap();
        let tutorial = RunConfig::recipe("tutorial").unwrap();
        assert_eq!(config.train.epochs, 3);
        assert_eq!(config.optimizer, tutorial.optimizer);
        let config = RunConfig::from_toml("", "x", Some("tutorial")).unwrap();
        assert_eq!(config, tutorial);
    }

    #[test]
    fn another_kind_does_not_inherit_the_numbers_of_the_recipes() {
        let config = parse("recipe = 'tutorial'\n[optimizer]\nkind = 'adamw'").unwrap();
        assert_eq!(config.optimizer, OptimizerConfig::adamw(1e-3));
        let config = parse("recipe = 'tutorial'\n[optimizer]\nlr = 0.5").unwrap();
        assert!(matches!(config.optimizer, OptimizerConfig::Rmsprop { lr: 0.5, momentum: 0.9, .. }));
    }

    #[test]
    fn unknown_keys_are_named_with_the_nearest_known_one() {
        for (text, key, near) in [
            ("[train]\nepoch = 3", "epoch", "epochs"),
            ("[trian]\nepochs = 3", "trian", "train"),
            ("[optimizer]\nkind = 'sgd'\nmomentun = 0.5", "momentun", "momentum"),
            ("[augment]\nrotate_degree = 3", "rotate_degree", "rotate_degrees"),
            ("[model]\nwidht = 3", "widht", "width"),
        ] {
            match parse(text).unwrap_err() {
                TrainError::UnknownKey { key: k, nearest, .. } => {
                    assert_eq!((k.as_str(), nearest.as_deref()), (key, Some(near)), "{text}");
                }
                other => panic!("{text}: {other}"),
            }
        }
        let text = parse("[train]\nepoch = 3").unwrap_err().to_string();
        assert!(text.contains("run.toml") && text.contains("did you mean 'epochs'"), "{text}");
    }

    #[test]
    fn impossible_values_are_named_with_what_is_possible() {
        for (text, part) in [
            ("[train]\nepochs = 0", "train.epochs = 0"),
            ("[train]\nepochs = 'many'", "epochs"),
            ("[model]\nwidth = 0", "model.width = 0"),
            ("[data]\npatch = 3", "data.patch = 3"),
            ("[data]\nval = 'some'", "some"),
            ("[optimizer]\nlr = -1.0", "optimizer.lr = -1"),
            ("[optimizer]\nkind = 'lion'", "lion"),
            ("[train]\nclip_norm = nan", "train.clip_norm = NaN"),
            ("[train]\nema_decay = 1.0", "train.ema_decay = 1"),
            ("[train]\ndevice = 'cuda'", "this version computes on the CPU"),
            ("[augment]\nnoise = 5.0", "augment.noise"),
            ("[data]\nval = 'none'\n[train]\nselect = 'val_dice'", "train.select"),
            ("version = 9\nnovelty = 1", "version = 9"),
            ("[train]\nselect = 'train_los'", "did you mean 'train_loss'"),
            ("[train]\nselect_smoothing = 1.0", "train.select_smoothing = 1"),
            ("[train]\naccumulate = 0", "train.accumulate = 0"),
            ("[groups]\nencoder_lr = -1", "groups.encoder_lr = -1"),
            ("[warmup]\nfrom = 2", "warmup.from = 2"),
            ("[optimizer]\nkind = 'schedule_free'", "train.ema_decay"),
            ("recipe = 'tutorail'", "did you mean 'tutorial'"),
            ("[train\n", "line 1"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn a_file_of_version_1_means_what_it_meant() {
        let old = "version = 1\nrecipe = 'tutorial'\n[schedule]\nkind = 'constant'\nwarmup_steps = 7\n[train]\nsave_seconds = 60";
        let (config, notes) = RunConfig::from_toml_noting(old, "old.toml", None).unwrap();
        assert_eq!((config.version, config.warmup), (CONFIG_VERSION, crate::config::Warmup { steps: 7, from: 0.0 }));
        assert!(notes.len() == 1 && notes[0].contains("old.toml") && notes[0].contains("version 1"), "{notes:?}");
        let again = RunConfig::from_toml_noting(&config.to_toml().unwrap(), "new.toml", None).unwrap();
        assert_eq!(again, (config, vec![]), "written anew, it needs no migration");
    }
}
