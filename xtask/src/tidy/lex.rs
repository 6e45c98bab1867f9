//! Just enough of Rust's lexical grammar to tell code from comments and literals. Takes source text; yields the same text with comments
//! and the contents of literals blanked, every line and column where it was.

/// `source` with comments (nested ones too), string, byte-string, raw-string and character literals overwritten by spaces.
/// Newlines stay, so a byte offset or line number found in the result holds for the source as well.
pub fn blank(source: &str) -> String {
    let mut lexer = Lexer { bytes: source.as_bytes(), at: 0, out: source.as_bytes().to_vec() };
    while lexer.at < lexer.bytes.len() {
        lexer.token();
    }
    // Whole literals and comments were overwritten by ASCII spaces, hence no character was cut in two.
    String::from_utf8_lossy(&lexer.out).into_owned()
}

/// The identifiers of `blanked` (a result of [`blank`]) with their 1-based lines.
pub fn identifiers(blanked: &str) -> impl Iterator<Item = (usize, &str)> {
    blanked.lines().enumerate().flat_map(|(index, line)| {
        line.split(|c: char| !(c.is_alphanumeric() || c == '_'))
            .filter(|word| !word.is_empty())
            .map(move |word| (index + 1, word))
    })
}

struct Lexer<'a> {
    bytes: &'a [u8],
    at: usize,
    out: Vec<u8>,
}

impl Lexer<'_> {
    fn peek(&self, ahead: usize) -> u8 {
        self.bytes.get(self.at + ahead).copied().unwrap_or(0)
    }

    /// Consumes one token: blanks it if it is a comment or a literal.
    fn token(&mut self) {
        match self.peek(0) {
            b'/' if self.peek(1) == b'/' => self.blank_to(self.line_end()),
            b'/' if self.peek(1) == b'*' => self.blank_to(self.block_comment_end()),
            b'"' => self.blank_to(self.string_end(self.at + 1)),
            b'\'' => self.quote(),
            first if first.is_ascii_alphabetic() || first == b'_' => self.word(),
            _ => self.at += 1,
        }
    }

    fn blank_to(&mut self, end: usize) {
        for byte in &mut self.out[self.at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        self.at = end;
    }

    fn line_end(&self) -> usize {
        let rest = &self.bytes[self.at..];
        self.at + rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len())
    }

    fn block_comment_end(&self) -> usize {
        let (mut depth, mut at) = (0usize, self.at);
        while at < self.bytes.len() {
            match self.bytes.get(at..at + 2) {
                Some(b"/*") => (depth, at) = (depth + 1, at + 2),
                Some(b"*/") => (depth, at) = (depth - 1, at + 2),
                _ => at += 1,
            }
            if depth == 0 {
                break;
            }
        }
        at
    }

    /// The end of a string whose contents begin at `at`: behind its closing quote, escapes skipped.
    fn string_end(&self, mut at: usize) -> usize {
        while at < self.bytes.len() {
            match self.bytes[at] {
                b'\\' => at += 2,
                b'"' => return at + 1,
                _ => at += 1,
            }
        }
        self.bytes.len()
    }

    /// A character literal is blanked, a lifetime is stepped over.
    fn quote(&mut self) {
        let rest = &self.bytes[self.at + 1..];
        let width = match rest.first() {
            Some(b'\\') => rest.iter().skip(2).position(|&byte| byte == b'\'').map(|found| found + 2),
            Some(_) => {
                let character = std::str::from_utf8(&rest[..rest.len().min(4)])
                    .map_or_else(|error| std::str::from_utf8(&rest[..error.valid_up_to()]).ok(), Some)
                    .and_then(|text| text.chars().next());
                character.map(char::len_utf8).filter(|&len| rest.get(len) == Some(&b'\''))
            }
            None => None,
        };
        match width {
            Some(width) => self.blank_to(self.at + 1 + width + 1),
            None => self.at += 1,
        }
    }

    /// Steps over an identifier; if it is the prefix of a literal (`r`, `b`, `br`, `c`, `cr`), blanks the literal instead.
    fn word(&mut self) {
        let rest = &self.bytes[self.at..];
        let len = rest.iter().position(|byte| !(byte.is_ascii_alphanumeric() || *byte == b'_')).unwrap_or(rest.len());
        let hashes = rest[len..].iter().take_while(|&&byte| byte == b'#').count();
        let quoted = rest.get(len + hashes) == Some(&b'"');
        match &rest[..len] {
            b"r" | b"br" | b"cr" if quoted => self.blank_to(self.raw_string_end(self.at + len + hashes + 1, hashes)),
            b"b" | b"c" if quoted && hashes == 0 => self.blank_to(self.string_end(self.at + len + 1)),
            _ => self.at += len,
        }
    }

    fn raw_string_end(&self, contents: usize, hashes: usize) -> usize {
        let closes = |at: usize| {
            self.bytes[at] == b'"' && self.bytes[at + 1..].iter().take_while(|&&byte| byte == b'#').count() >= hashes
        };
        (contents..self.bytes.len()).find(|&at| closes(at)).map_or(self.bytes.len(), |at| at + 1 + hashes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn words(source: &str) -> Vec<String> {
        let blanked = blank(source);
        assert_eq!(blanked.lines().count(), source.lines().count());
        identifiers(&blanked).map(|(_, word)| word.to_owned()).collect()
    }

    #[test]
    fn comments_and_literals_are_not_code() {
        assert_eq!(words("a // unsafe\nb /* x /* y */ z */ c"), ["a", "b", "c"]);
        assert_eq!(words(r#"f("un\"safe", b"x", 'u', '\'', '\u{61}', 'é') g"#), ["f", "g"]);
        assert_eq!(words("r\"a\\\" b r#\"say \"x\"\"# c br##\"\"#\"## d"), ["b", "c", "d"]);
    }

    #[test]
    fn lifetimes_and_raw_identifiers_are_code() {
        assert_eq!(
            words("fn f<'a>(x: &'a str) -> &'static u8 { r#type }"),
            ["fn", "f", "a", "x", "a", "str", "static", "u8", "r", "type"]
        );
    }

    #[test]
    fn unfinished_tokens_end_with_the_text() {
        for source in ["/* open", "\"open", "\"open\\", "r#\"open\"", "'", "'\\", "b\"", "x/"] {
            blank(source);
        }
    }

    #[test]
    fn lines_are_those_of_the_source() {
        let source = "/* one\n two */ let\n\n\"a\nb\" end";
        let blanked = blank(source);
        assert_eq!(identifiers(&blanked).collect::<Vec<_>>(), [(2, "let"), (5, "end")]);
    }
}
