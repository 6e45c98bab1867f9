//! Which images `DATA` means: a folder, or one of the names `isbi2012` and `synthetic`; and what stands in where nothing was typed.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use anyhow::{Result, bail};
use unet_data::{ClassTable, Dataset, MaskOptions, OpenOptions, Synthetic, SyntheticConfig};

use crate::progress::Counter;
use crate::terminal::Terminal;

/// The built-in stack.
pub const SYNTHETIC: &str = "synthetic";
/// The real one, by name.
pub const ISBI2012: &str = "isbi2012";
/// Where `cargo xtask fetch-data` puts it.
pub const ISBI2012_FOLDER: &str = "data/isbi2012";

/// `DATA` where none was typed, and the line that says so.
pub fn default_choice(base: &Path) -> (PathBuf, String) {
    if base.join(ISBI2012_FOLDER).is_dir() {
        return (ISBI2012_FOLDER.into(), format!("Data: {ISBI2012_FOLDER}, the ISBI-2012 electron micrographs"));
    }
    let line = "Data: built-in synthetic slices (the real ISBI-2012 ones: cargo xtask fetch-data)";
    (SYNTHETIC.into(), line.to_owned())
}

/// Opens what `DATA` means, all masks looked at under a bar.
pub fn open(data: &Path, options: &OpenOptions<'_>, terminal: &Terminal) -> Result<Arc<dyn Dataset>> {
    if data == Path::new(SYNTHETIC) {
        if options.masks != MaskOptions::default() {
            bail!(
                "the built-in slices have masks of two values: leave --ignore, --mask-threshold and --multi-label out"
            );
        }
        return Ok(Arc::new(Synthetic::new(SyntheticConfig::default())?));
    }
    with_counter(terminal, ("look", "looked at"), |progress| {
        let options = OpenOptions { progress: Some(progress), cache: cache_folder(), ..options.clone() };
        Ok(unet_data::open_with(&folder(data)?, &options)?)
    })
}

/// Where what masks hold is remembered: the folder that `UNET_CACHE` names (nowhere, where that is empty), else the one that the system
/// has for such files.
fn cache_folder() -> Option<PathBuf> {
    let named = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if std::env::var_os("UNET_CACHE").is_some() {
        return named("UNET_CACHE");
    }
    let home = || named("HOME");
    if cfg!(windows) {
        return Some(named("LOCALAPPDATA")?.join("unet").join("cache"));
    }
    if cfg!(target_os = "macos") {
        return Some(home()?.join("Library").join("Caches").join("unet"));
    }
    let base = named("XDG_CACHE_HOME").filter(|p| p.is_absolute()).or_else(|| Some(home()?.join(".cache")))?;
    Some(base.join("unet"))
}

/// Lets `work` tell how far it is, from any thread: a bar, or lines. The names are those of [`Counter::new`].
pub fn with_counter<T>(
    terminal: &Terminal,
    (prefix, verb): (&'static str, &'static str),
    work: impl FnOnce(&(dyn Fn(usize, usize) + Sync)) -> Result<T>,
) -> Result<T> {
    let bar: OnceLock<Mutex<Counter>> = OnceLock::new();
    work(&|done, total| {
        let counter = || Mutex::new(Counter::new(terminal, prefix, verb, total));
        if let Ok(mut counter) = bar.get_or_init(counter).lock() {
            counter.tick(&done.to_string());
        }
    })
}

/// Opens what `DATA` means with the classes that a model knows: the masks may lack some of them.
pub fn open_with_classes(data: &Path, classes: &ClassTable, options: &OpenOptions<'_>) -> Result<Arc<dyn Dataset>> {
    if data == Path::new(SYNTHETIC) {
        return Ok(Arc::new(Synthetic::new(SyntheticConfig::default())?));
    }
    let options = OpenOptions { classes: Some(classes.clone()), ..options.clone() };
    Ok(unet_data::open_with(&folder(data)?, &options)?)
}

/// The folder that `DATA` means: `isbi2012` is a name.
fn folder(data: &Path) -> Result<PathBuf> {
    if data != Path::new(ISBI2012) {
        return Ok(data.to_owned());
    }
    match Path::new(ISBI2012_FOLDER) {
        folder if folder.is_dir() => Ok(folder.to_owned()),
        folder => bail!(
            "{}: the ISBI-2012 slices are not here; fetch them with `cargo xtask fetch-data`, or train on your own \
             folder, or on 'synthetic'",
            folder.display()
        ),
    }
}

/// A short name for runs on this data.
pub fn short_name(data: &Path) -> String {
    let absolute = std::path::absolute(data).unwrap_or_else(|_| data.to_owned());
    let name = absolute.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let safe: String = name.chars().map(|c| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '_' }).collect();
    if safe.trim_matches('.').is_empty() { "run".to_owned() } else { safe }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_named_after_the_last_folder() {
        assert_eq!(short_name(Path::new("data/isbi2012")), "isbi2012");
        assert_eq!(short_name(Path::new("a b/c d/")), "c_d");
        assert_eq!(short_name(Path::new("/")), "run");
    }

    #[test]
    fn the_default_is_what_was_fetched_or_else_synthetic_and_says_which() {
        let dir = tempfile::tempdir().expect("a folder");
        let (data, line) = default_choice(dir.path());
        assert_eq!(data, Path::new("synthetic"));
        assert!(line.contains("synthetic") && line.contains("cargo xtask fetch-data"), "{line}");
        std::fs::create_dir_all(dir.path().join(ISBI2012_FOLDER)).expect("made");
        let (data, line) = default_choice(dir.path());
        assert_eq!(data, Path::new(ISBI2012_FOLDER));
        assert!(line.contains(ISBI2012_FOLDER) && !line.contains("fetch"), "{line}");
    }
}
