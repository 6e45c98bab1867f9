//! `docs/cli.md` is the command line's contract: every long flag that clap knows stands in it. Takes the sources of `unet-cli` and the
//! page; yields a finding per missing flag. (Flags are read from the source, so that this check needs no build.)

use super::tree::Source;
use super::{Finding, Tree};

/// Finds long flags of `unet-cli` that the page lacks; nothing to do while either does not exist.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let Some(page) = &tree.cli_page else { return Vec::new() };
    let mut findings = Vec::new();
    for source in
        tree.sources_of("unet-cli").filter(|source| source.path.components().any(|part| part.as_os_str() == "src"))
    {
        for (line, flag) in long_flags(source) {
            if !mentions(page, &flag) {
                findings.push(Finding::new(
                    &source.path,
                    line,
                    format!("docs/cli.md does not mention --{flag}: describe it there"),
                ));
            }
        }
    }
    findings
}

/// Does `page` hold `--flag` as a word of its own (`--val` is not mentioned by `--value`)?
fn mentions(page: &str, flag: &str) -> bool {
    let wanted = format!("--{flag}");
    page.match_indices(&wanted).any(|(at, _)| {
        let next = page[at + wanted.len()..].chars().next();
        !next.is_some_and(|next| next.is_alphanumeric() || next == '-' || next == '_')
    })
}

/// The long flags that `#[arg(…)]` attributes in `source` declare, with their lines.
fn long_flags(source: &Source) -> Vec<(usize, String)> {
    let code = source.code.as_str();
    let mut flags = Vec::new();
    for (start, marker) in code.match_indices("#[arg(") {
        let open = start + marker.len();
        let Some(end) = closing(code, open) else { continue };
        let Some(long_at) = top_level_word(&code[open..end], "long") else { continue };
        let after = open + long_at + "long".len();
        let explicit =
            code[after..end].trim_start().starts_with('=').then(|| quoted(&source.text[after..end])).flatten();
        let name = explicit.or_else(|| field_behind(&code[end..]).map(|field| field.replace('_', "-")));
        if let Some(name) = name {
            flags.push((code[..start].matches('\n').count() + 1, name));
        }
    }
    flags
}

/// The offset of the parenthesis that closes the one just ahead of `open`.
fn closing(code: &str, open: usize) -> Option<usize> {
    let mut depth = 1usize;
    for (at, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

/// The offset of `word` in an attribute's arguments, outside nested parentheses and standing first in its argument.
fn top_level_word(arguments: &str, word: &str) -> Option<usize> {
    let (mut depth, mut start) = (0usize, 0);
    for (at, byte) in arguments.bytes().enumerate().chain([(arguments.len(), b',')]) {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            b',' if depth == 0 => {
                let argument = &arguments[start..at];
                let key = argument.trim_start().split(|c: char| !(c.is_alphanumeric() || c == '_')).next();
                if key == Some(word) {
                    return Some(at - argument.trim_start().len());
                }
                start = at + 1;
            }
            _ => {}
        }
    }
    None
}

/// The contents of the first string literal in `text`.
fn quoted(text: &str) -> Option<String> {
    text.split('"').nth(1).map(str::to_owned)
}

/// The field that an attribute ending at the start of `code` belongs to: `)] … pub name: T`.
fn field_behind(code: &str) -> Option<&str> {
    let mut rest = code.strip_prefix(")]")?.trim_start();
    while let Some(attribute) = rest.strip_prefix("#[") {
        rest = attribute.get(closing(attribute, 0)? + 1..)?.trim_start();
    }
    if let Some(public) = rest.strip_prefix("pub") {
        rest = match public.strip_prefix('(') {
            Some(scope) => scope.get(closing(scope, 0)? + 1..)?.trim_start(),
            None => public.trim_start(),
        };
    }
    let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_'))?;
    rest[end..].trim_start().starts_with(':').then_some(&rest[..end])
}

#[cfg(test)]
mod tests {
    use super::super::tree::fixture_with;
    use super::*;

    const ARGS: &str = r#"//! Arguments.
struct Train {
    #[arg(long, value_name = "N", default_value_t = f(1, "long"))]
    /// How many.
    pub batch_size: usize,
    #[arg(short = 'o', long = "out", value_parser = (long))]
    pub(crate) output: String,
    #[arg(
        value_enum,
        long,
    )]
    #[cfg(unix)]
    seed: u64,
    #[arg(value_name = "long")]
    data: String,
}
"#;

    fn missing(page: &str) -> Vec<String> {
        let manifest = "[package]\nname = \"unet-cli\"\n";
        let changes =
            [("crates/unet-cli/Cargo.toml", manifest), ("crates/unet-cli/src/args.rs", ARGS), ("docs/cli.md", page)];
        check(&fixture_with(&changes)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn flags_missing_from_the_page_are_found_with_their_lines() {
        assert_eq!(
            missing("nothing"),
            [
                "crates/unet-cli/src/args.rs:3: docs/cli.md does not mention --batch-size: describe it there",
                "crates/unet-cli/src/args.rs:6: docs/cli.md does not mention --out: describe it there",
                "crates/unet-cli/src/args.rs:8: docs/cli.md does not mention --seed: describe it there",
            ]
        );
        assert_eq!(missing("[--batch-size N] `--out` --seed"), Vec::<String>::new());
    }

    #[test]
    fn a_longer_flag_does_not_mention_a_shorter_one() {
        assert_eq!(missing("--batch-size --out-dir --seeds").len(), 2);
    }
}
