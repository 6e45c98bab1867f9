//! Layers: which crate may know which. Takes manifests and sources; yields a finding for each dependency, `use` or path that goes up,
//! or that brings in what a layer must never know.

use super::{Finding, Tree, lex};

/// A crate's place in the workspace.
struct Layer {
    name: &'static str,
    /// The workspace's own crates that it may use.
    below: &'static [&'static str],
    /// Crates from outside that its layer must never know (a prefix ending in `-` stands for a family), and why.
    never: &'static [&'static str],
}

const TERMINAL: [&str; 4] = ["clap", "ctrlc", "indicatif", "anyhow"];
const LAYERS: [Layer; 6] = [
    Layer {
        name: "unet-kernels",
        below: &[],
        never: &[
            "candle-",
            "image",
            "tiff",
            "safetensors",
            "serde_json",
            TERMINAL[0],
            TERMINAL[1],
            TERMINAL[2],
            TERMINAL[3],
        ],
    },
    Layer {
        name: "unet-model",
        below: &["unet-kernels"],
        never: &["image", "tiff", TERMINAL[0], TERMINAL[1], TERMINAL[2], TERMINAL[3]],
    },
    Layer {
        name: "unet-data",
        below: &["unet-kernels"],
        never: &["candle-", "safetensors", TERMINAL[0], TERMINAL[1], TERMINAL[2], TERMINAL[3]],
    },
    Layer { name: "unet-train", below: &["unet-kernels", "unet-model", "unet-data"], never: &TERMINAL },
    Layer { name: "unet-cli", below: &["unet-kernels", "unet-model", "unet-data", "unet-train"], never: &[] },
    Layer { name: "xtask", below: &[], never: &["candle-"] },
];

/// The libraries of the Candle family, as code names them.
const CANDLE: [&str; 5] = ["candle_core", "candle_nn", "candle_transformers", "candle_datasets", "candle_onnx"];

/// The tables of a manifest that name dependencies.
pub const DEPENDENCY_TABLES: [&str; 3] = ["dependencies", "dev-dependencies", "build-dependencies"];

/// Checks every crate against the table of layers; a crate that the table does not know is a finding too.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for krate in &tree.crates {
        let Some(layer) = LAYERS.iter().find(|layer| layer.name == krate.name) else {
            let message = format!(
                "the crate `{}` has no place in the table of layers: add it to xtask's tidy and ARCHITECTURE.md",
                krate.name
            );
            findings.push(Finding::new(&krate.manifest.path, 0, message));
            continue;
        };
        for (table, dependency) in dependencies(&krate.manifest.table) {
            if let Some(reason) = layer.objection(&dependency) {
                let line = krate.manifest.line_of(&table, &dependency);
                findings.push(Finding::new(&krate.manifest.path, line, reason));
            }
        }
        for source in tree.sources_of(&krate.name) {
            for (line, word) in lex::identifiers(&source.code) {
                if let Some(reason) = layer.objection_to_identifier(word) {
                    findings.push(Finding::new(&source.path, line, reason));
                }
            }
        }
    }
    findings
}

/// The dependencies of a member, each with the table it stands in; tables under `[target.….]` included.
pub fn dependencies(manifest: &toml::Table) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut collect = |prefix: String, table: &toml::Table| {
        for kind in DEPENDENCY_TABLES {
            let names = table.get(kind).and_then(toml::Value::as_table).into_iter().flat_map(toml::Table::keys);
            found.extend(names.map(|name| (format!("{prefix}{kind}"), name.clone())));
        }
    };
    collect(String::new(), manifest);
    for (target, table) in manifest.get("target").and_then(toml::Value::as_table).into_iter().flatten() {
        if let Some(table) = table.as_table() {
            collect(format!("target.'{target}'."), table);
        }
    }
    found
}

impl Layer {
    /// Why this layer may not depend on `dependency`; none if it may.
    fn objection(&self, dependency: &str) -> Option<String> {
        let own = LAYERS.iter().any(|layer| layer.name == dependency);
        if own && !self.below.contains(&dependency) {
            return Some(format!(
                "{} may not use {dependency}: it lies beside or above it (allowed: {})",
                self.name,
                list(self.below)
            ));
        }
        let forbidden =
            |name: &&&str| if name.ends_with('-') { dependency.starts_with(**name) } else { dependency == **name };
        self.never
            .iter()
            .find(forbidden)
            .map(|_| format!("{} must not know {dependency} (see ARCHITECTURE.md, layers)", self.name))
    }

    /// The same for an identifier in code: the name of a workspace crate or of one of Candle's. (Other forbidden names, such as `image`,
    /// are everyday words; without the dependency, code that means the crate does not compile.)
    fn objection_to_identifier(&self, word: &str) -> Option<String> {
        let package = word.replace('_', "-");
        let is_crate = CANDLE.contains(&word) || LAYERS.iter().any(|layer| layer.name == package && word.contains('_'));
        if is_crate && package != self.name { self.objection(&package) } else { None }
    }
}

fn list(names: &[&str]) -> String {
    if names.is_empty() { "none".into() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::super::tree::fixture_with;
    use super::*;

    #[track_caller]
    fn only(changes: &[(&str, &str)]) -> String {
        let findings = check(&fixture_with(changes));
        assert_eq!(findings.len(), 1, "{findings:?}");
        findings[0].to_string()
    }

    #[test]
    fn a_dependency_upwards_is_found_in_the_manifest() {
        let manifest = "[package]\nname = \"unet-kernels\"\n\n[dependencies]\nrayon.workspace = true\nunet-data.workspace = true\n";
        let found = only(&[("crates/unet-kernels/Cargo.toml", manifest)]);
        assert!(found.starts_with("crates/unet-kernels/Cargo.toml:6: unet-kernels may not use unet-data"), "{found}");
    }

    #[test]
    fn development_and_target_dependencies_count() {
        for header in ["[dev-dependencies]", "[target.'cfg(unix)'.dependencies]"] {
            let manifest = format!("[package]\nname = \"unet-data\"\n\n{header}\ncandle-core.workspace = true\n");
            let found = only(&[("crates/unet-data/Cargo.toml", &manifest)]);
            assert!(found.starts_with("crates/unet-data/Cargo.toml:5: unet-data must not know candle-core"), "{found}");
        }
    }

    #[test]
    fn a_path_upwards_is_found_in_code_but_not_in_comments() {
        let code = "//! See unet_train.\n#![forbid(unsafe_code)]\n/// Like [`unet_model::UNet`].\nfn candle_in() {\n    ::unet_model::f();\n}\n";
        let found = only(&[("crates/unet-data/src/lib.rs", code)]);
        assert!(found.starts_with("crates/unet-data/src/lib.rs:5: unet-data may not use unet-model"), "{found}");
    }

    #[test]
    fn tests_and_examples_of_a_crate_keep_its_layer() {
        let found = only(&[("crates/unet-data/tests/t.rs", "//! T.\nuse candle_core::Tensor;\n")]);
        assert!(found.starts_with("crates/unet-data/tests/t.rs:2: unet-data must not know candle-core"), "{found}");
    }

    #[test]
    fn an_unknown_crate_has_to_take_a_place() {
        let found = only(&[("crates/unet-new/Cargo.toml", "[package]\nname = \"unet-new\"\n")]);
        assert!(found.contains("`unet-new` has no place"), "{found}");
    }
}
