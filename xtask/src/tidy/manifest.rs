//! Dependencies are pinned to one version, in one place. Takes manifests; yields findings.

use super::{Finding, Tree, layers};

/// Every outside dependency stands in `[workspace.dependencies]` with `=MAJOR.MINOR.PATCH`, and members refer to it there.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let shared = tree.workspace.table.get("workspace").and_then(|workspace| workspace.get("dependencies"));
    for (name, value) in shared.and_then(toml::Value::as_table).into_iter().flatten() {
        if let Some(message) = unpinned(name, value) {
            let line = tree.workspace.line_of("workspace.dependencies", name);
            findings.push(Finding::new(&tree.workspace.path, line, message));
        }
    }
    for krate in &tree.crates {
        for (table, name) in layers::dependencies(&krate.manifest.table) {
            let line = krate.manifest.line_of(&table, &name);
            let refers = value_at(&krate.manifest.table, &table, &name).and_then(|value| value.get("workspace"));
            if refers.and_then(toml::Value::as_bool) != Some(true) {
                let message = format!("write `{name}.workspace = true` and give its version in the root Cargo.toml");
                findings.push(Finding::new(&krate.manifest.path, line, message));
            }
        }
    }
    findings
}

/// Why an entry of the shared table is not pinned; none if it is, or is a path inside the workspace.
fn unpinned(name: &str, value: &toml::Value) -> Option<String> {
    if value.get("git").is_some() {
        return Some(format!("{name} comes from a git repository: use a released version, pinned"));
    }
    if value.get("path").is_some() {
        return None;
    }
    let version = value.as_str().or_else(|| value.get("version").and_then(toml::Value::as_str)).unwrap_or("");
    let exact = version.strip_prefix('=').is_some_and(|version| {
        let numbers = version.split(['-', '+']).next().unwrap_or("");
        numbers.split('.').count() == 3 && numbers.split('.').all(|number| number.parse::<u64>().is_ok())
    });
    (!exact).then(|| format!("{name} is not pinned: found \"{version}\", expected \"=MAJOR.MINOR.PATCH\""))
}

/// The value of dependency `name` in the table that [`layers::dependencies`] called `table`.
fn value_at<'a>(manifest: &'a toml::Table, table: &str, name: &str) -> Option<&'a toml::Value> {
    let (target, kind) = match table.strip_prefix("target.'").and_then(|rest| rest.rsplit_once("'.")) {
        Some((target, kind)) => (Some(target), kind),
        None => (None, table),
    };
    let holder = match target {
        Some(target) => manifest.get("target")?.get(target)?.as_table()?,
        None => manifest,
    };
    holder.get(kind)?.get(name)
}

#[cfg(test)]
mod tests {
    use super::super::tree::fixture_with;
    use super::*;

    #[test]
    fn a_loose_version_is_found_in_the_root() {
        for (entry, what) in [
            ("rayon = \"1.12.0\"", "found \"1.12.0\""),
            ("rayon = \"=1.12\"", "found \"=1.12\""),
            ("rayon = { version = \"*\" }", "found \"*\""),
            ("rayon = { git = \"https://example.org/rayon\" }", "git repository"),
        ] {
            let root = format!("[workspace]\n\n[workspace.dependencies]\n{entry}\n");
            let findings = check(&fixture_with(&[("Cargo.toml", &root)]));
            assert_eq!(findings.len(), 1, "{entry}");
            let found = findings[0].to_string();
            assert!(found.starts_with("Cargo.toml:4: rayon") && found.contains(what), "{found}");
        }
    }

    #[test]
    fn a_version_of_its_own_is_found_in_a_member() {
        for (header, entry) in [
            ("[dependencies]", "rayon = \"=1.12.0\""),
            ("[target.'cfg(unix)'.dev-dependencies]", "rayon = { version = \"=1.12.0\" }"),
        ] {
            let manifest = format!("[package]\nname = \"unet-data\"\n{header}\n{entry}\n");
            let findings = check(&fixture_with(&[("crates/unet-data/Cargo.toml", &manifest)]));
            assert_eq!(findings.len(), 1, "{entry}");
            assert!(
                findings[0].to_string().starts_with("crates/unet-data/Cargo.toml:4: write `rayon"),
                "{}",
                findings[0]
            );
        }
    }

    #[test]
    fn pinned_versions_may_carry_build_metadata() {
        let root = "[workspace.dependencies]\ntoml = \"=1.2.2+spec-1.1.0\"\nx = { version = \"=2.0.0-rc.1\" }\n";
        assert_eq!(check(&fixture_with(&[("Cargo.toml", root)])), []);
    }
}
