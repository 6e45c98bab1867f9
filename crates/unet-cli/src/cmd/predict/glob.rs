//! Patterns among the inputs, for shells that do not expand them: `*` and `?` within one name of a path.

use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Each input, or the files that it stands for, sorted. A file whose own name has a star in it is taken as it is.
pub fn expand(inputs: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for input in inputs {
        if !is_pattern(input) || input.exists() {
            found.push(input.clone());
            continue;
        }
        let files = matches(input)?;
        if files.is_empty() {
            bail!("{}: no file matches this pattern", input.display());
        }
        found.extend(files);
    }
    Ok(found)
}

fn is_pattern(path: &Path) -> bool {
    path.to_string_lossy().contains(['*', '?'])
}

fn matches(pattern: &Path) -> Result<Vec<PathBuf>> {
    let mut found = vec![PathBuf::new()];
    for part in pattern.components() {
        let name = part.as_os_str().to_string_lossy().into_owned();
        if !matches!(part, Component::Normal(_)) || !name.contains(['*', '?']) {
            found = found.into_iter().map(|path| path.join(part)).filter(|path| path.exists()).collect();
            continue;
        }
        let mut next = Vec::new();
        for folder in found {
            let here = if folder.as_os_str().is_empty() { Path::new(".") } else { &folder };
            if !here.is_dir() {
                continue;
            }
            for entry in std::fs::read_dir(here).with_context(|| format!("{}: cannot list", here.display()))? {
                let file = entry.with_context(|| format!("{}: cannot list", here.display()))?.file_name();
                let text = file.to_string_lossy();
                // As in shells, a star does not stand for hidden files.
                if fits(&name, &text) && (name.starts_with('.') || !text.starts_with('.')) {
                    next.push(folder.join(file));
                }
            }
        }
        next.sort();
        found = next;
    }
    Ok(found)
}

/// Whether a name fits a pattern: `*` is any run of characters, `?` is one.
fn fits(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n, mut back) = (0, 0, None);
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                back = Some((p + 1, n));
                p += 1;
            }
            Some(c) if *c == '?' || *c == name[n] => {
                p += 1;
                n += 1;
            }
            // The last star takes one character more.
            _ => match back {
                Some((after, taken)) => {
                    back = Some((after, taken + 1));
                    (p, n) = (after, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_patterns() {
        for (pattern, name) in [("*.tif", "a.tif"), ("a*b*c", "aXbbYc"), ("?.png", "é.png"), ("*", ""), ("a**", "a")] {
            assert!(fits(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("*.tif", "a.tiff"), ("a*b*c", "aXc"), ("?.png", "ab.png"), ("", "a")] {
            assert!(!fits(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn a_pattern_stands_for_files_in_order_and_nothing_is_an_error() {
        let dir = tempfile::tempdir().expect("a folder");
        for name in ["x/b.png", "x/a.png", "y/a.png", "y/.c.png", "y/d.tif"] {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            std::fs::write(path, "").expect("written");
        }
        let found = expand(&[dir.path().join("*").join("*.png")]).expect("listed");
        let names: Vec<_> = found.iter().map(|p| p.strip_prefix(dir.path()).expect("inside").to_owned()).collect();
        assert_eq!(names, ["x/a.png", "x/b.png", "y/a.png"].map(PathBuf::from));
        assert!(expand(&[dir.path().join("*.jpg")]).expect_err("nothing").to_string().contains("*.jpg"));
        assert_eq!(expand(&[PathBuf::from("gone.png")]).expect("left to others"), [PathBuf::from("gone.png")]);
    }
}
