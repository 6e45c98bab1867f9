//! Each library crate works linked alone: its examples are built as the binaries of a package outside the workspace that depends on the
//! crate by path, as a user's would. Takes the workspace; fails when an example does not build there, or a crate has none.
//!
//! The package is written to `consumers/NAME` in cargo's target folder. It gets the workspace's Cargo.lock, so that no version is resolved
//! anew, and is built without optimisation: a smaller set of features than the workspace's means that every dependency is compiled once
//! more, and nothing here is run. Besides the crate itself it depends only on what the example names of that crate's own dependencies,
//! those for development included, as a user's program would.

use crate::tidy::{Tree, identifiers};
use crate::{process, workspace};
use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Builds a consumer for every library crate.
pub fn check(root: &Path) -> Result<()> {
    let tree = Tree::read(root)?;
    let target = workspace::target_dir(root)?;
    for krate in workspace::LIBRARIES {
        let examples = examples(&root.join("crates").join(krate))?;
        if examples.is_empty() {
            bail!(
                "{krate} has no example: add crates/{krate}/examples/NAME.rs, a small program that uses the crate alone"
            );
        }
        let package = target.join("consumers").join(krate);
        write_package(root, &tree, krate, &examples, &package)?;
        let mut build = workspace::cargo(&package);
        build.args(["build", "--quiet"]).env("CARGO_TARGET_DIR", target.join("consumers/target"));
        process::run(&mut build)
            .with_context(|| format!("{krate} does not work linked alone (the package is {})", package.display()))?;
        eprintln!("  {krate}: {} example(s) build outside the workspace", examples.len());
    }
    Ok(())
}

/// The example programs of the crate in `dir`, sorted; without the modules that they share, which are folders.
fn examples(dir: &Path) -> Result<Vec<PathBuf>> {
    let is_program = |path: &Path| path.extension().is_some_and(|extension| extension == "rs");
    Ok(entries(&dir.join("examples"))?.into_iter().filter(|path| is_program(path)).collect())
}

/// What lies in a folder, sorted; nothing where there is none.
fn entries(dir: &Path) -> Result<Vec<PathBuf>> {
    if !dir.is_dir() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))? {
        found.push(entry?.path());
    }
    found.sort();
    Ok(found)
}

fn write_package(root: &Path, tree: &Tree, krate: &str, examples: &[PathBuf], package: &Path) -> Result<()> {
    let bin = package.join("src/bin");
    if bin.exists() {
        std::fs::remove_dir_all(&bin).with_context(|| format!("cannot clear {}", bin.display()))?;
    }
    std::fs::create_dir_all(&bin).with_context(|| format!("cannot create {}", bin.display()))?;
    let mut named = BTreeSet::new();
    for example in examples {
        let text = std::fs::read_to_string(example).with_context(|| format!("cannot read {}", example.display()))?;
        named.extend(identifiers(&text));
        let name = format!("{krate}-{}", example.file_name().unwrap_or_default().to_string_lossy());
        std::fs::write(bin.join(name), text).with_context(|| format!("cannot write to {}", bin.display()))?;
    }
    for module in entries(&root.join("crates").join(krate).join("examples"))?.iter().filter(|path| path.is_dir()) {
        let to = bin.join(module.file_name().unwrap_or_default());
        std::fs::create_dir_all(&to).with_context(|| format!("cannot create {}", to.display()))?;
        for file in entries(module)? {
            let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
            named.extend(identifiers(&text));
            std::fs::write(to.join(file.file_name().unwrap_or_default()), text)
                .with_context(|| format!("cannot write to {}", to.display()))?;
        }
    }
    let manifest = manifest(root, tree, krate, &named)?;
    std::fs::write(package.join("Cargo.toml"), manifest).context("cannot write the consumer's Cargo.toml")?;
    std::fs::copy(root.join("Cargo.lock"), package.join("Cargo.lock")).context("cannot copy Cargo.lock")?;
    Ok(())
}

/// The Cargo.toml of the consumer of `krate` whose sources use the identifiers in `named`.
fn manifest(root: &Path, tree: &Tree, krate: &str, named: &BTreeSet<String>) -> Result<String> {
    let shared = tree.workspace.table.get("workspace").and_then(|workspace| workspace.get("dependencies"));
    let shared =
        shared.and_then(toml::Value::as_table).context("the root Cargo.toml has no [workspace.dependencies]")?;
    let own = tree
        .crates
        .iter()
        .find(|member| member.name == krate)
        .with_context(|| format!("no crate is called {krate}"))?;
    let sections = ["dependencies", "dev-dependencies"].map(|section| own.manifest.table.get(section));
    let own: BTreeSet<&String> =
        sections.into_iter().flatten().filter_map(toml::Value::as_table).flat_map(toml::Table::keys).collect();
    let allowed = own.into_iter().filter(|name| *name != krate && named.contains(&name.replace('-', "_")));

    let mut dependencies = toml::Table::new();
    for name in allowed.map(String::as_str).chain([krate]) {
        let mut entry = shared.get(name).with_context(|| format!("{name} is not in [workspace.dependencies]"))?.clone();
        if let Some(path) = entry.get_mut("path") {
            let absolute = root.join(path.as_str().unwrap_or_default());
            *path = toml::Value::String(absolute.to_string_lossy().into_owned());
        }
        dependencies.insert(name.to_owned(), entry);
    }
    let package = toml::toml! {
        name = "consumer"
        version = "0.0.0"
        edition = "2024"
        publish = false
    };
    let mut manifest = toml::Table::new();
    manifest.insert("package".into(), toml::Value::Table(package));
    manifest.insert("workspace".into(), toml::Value::Table(toml::Table::new()));
    manifest.insert("dependencies".into(), toml::Value::Table(dependencies));
    let profile = toml::toml! { dev = { debug = false } };
    manifest.insert("profile".into(), toml::Value::Table(profile));
    toml::to_string(&manifest).context("cannot write the consumer's manifest")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_consumer_gets_the_crate_and_what_its_examples_name() {
        let root = workspace::root().expect("in the workspace");
        let tree = Tree::read(&root).expect("readable");
        let named = ["rand", "tempfile", "println", "safetensors"].map(str::to_owned).into();
        let manifest: toml::Table =
            manifest(&root, &tree, "unet-data", &named).expect("made").parse().expect("valid TOML");
        let dependencies: Vec<_> = manifest["dependencies"].as_table().expect("a table").keys().collect();
        assert_eq!(dependencies, ["rand", "tempfile", "unet-data"], "safetensors is no dependency of unet-data");
        let path = manifest["dependencies"]["unet-data"]["path"].as_str().expect("a path");
        assert!(Path::new(path).join("Cargo.toml").is_file(), "{path}");
        assert!(manifest.contains_key("workspace"), "stands outside the workspace");
    }
}
