//! What is measured: networks and the images they see. Takes patterns; yields the cases and settings whose names fit.

use anyhow::{Result, bail};

/// A network and the images it runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Case {
    /// `f32` or `bf16`.
    pub precision: &'static str,
    /// Height of an image in pixels.
    pub height: usize,
    /// Width of an image in pixels.
    pub width: usize,
    /// Images in a batch.
    pub batch: usize,
    /// `tutorial` (the article's, bilinear) or `milesial` (transposed convolutions).
    pub network: &'static str,
    /// Channels of the first level.
    pub base: usize,
}

/// The number formats that each network is measured in.
const PRECISIONS: [&str; 2] = ["f32", "bf16"];
/// Height, width, batch, network and base of what is measured.
const SHAPES: [(usize, usize, usize, &str, usize); 6] = [
    (512, 512, 1, "tutorial", 64),
    (512, 512, 1, "milesial", 64),
    (256, 256, 8, "tutorial", 64),
    (500, 333, 2, "tutorial", 64),
    (256, 256, 2, "tutorial", 32),
    (256, 256, 2, "tutorial", 16),
];

impl Case {
    /// All of them; those of one network and image follow each other.
    pub fn all() -> Vec<Self> {
        let of = |(height, width, batch, network, base)| {
            PRECISIONS.map(|precision| Self { precision, height, width, batch, network, base })
        };
        SHAPES.into_iter().flat_map(of).collect()
    }

    /// Those that `patterns` chooses.
    pub fn choose(patterns: Option<&str>) -> Result<Vec<Self>> {
        choose("case", Self::all(), Self::name, patterns)
    }

    /// `f32/512x512x1/tutorial`: precision, height × width × batch, network.
    pub fn name(&self) -> String {
        format!("{}/{}", self.precision, self.shape())
    }

    /// `512x512x1/tutorial`: the name without the precision.
    pub fn shape(&self) -> String {
        let Self { height, width, batch, network, base, .. } = self;
        let network = if *base == 64 { (*network).to_owned() } else { format!("base{base}") };
        format!("{height}x{width}x{batch}/{network}")
    }

    /// As the workers of both sides take it.
    pub fn arguments(&self, threads: usize) -> Vec<String> {
        let numbers = [
            ("height", self.height),
            ("width", self.width),
            ("batch", self.batch),
            ("base", self.base),
            ("threads", threads),
        ];
        let mut arguments = ["--network", self.network, "--precision", self.precision].map(str::to_owned).to_vec();
        arguments.extend(numbers.iter().flat_map(|(name, value)| [format!("--{name}"), value.to_string()]));
        arguments
    }
}

/// Those of `all` whose name one of the comma-separated `patterns` chooses: the one of that very name or, where none has it, all whose
/// name contains the pattern. All without patterns; `kind` is what an error calls them.
pub fn choose<T>(kind: &str, all: Vec<T>, name: impl Fn(&T) -> String, patterns: Option<&str>) -> Result<Vec<T>> {
    let Some(patterns) = patterns else { return Ok(all) };
    let names: Vec<String> = all.iter().map(&name).collect();
    let mut chosen = vec![false; all.len()];
    for pattern in patterns.split(',').map(str::trim) {
        let exact = names.iter().any(|name| name == pattern);
        let fits = |name: &String| if exact { name == pattern } else { name.contains(pattern) };
        if !names.iter().any(fits) {
            bail!("no {kind} contains `{pattern}`; there are: {}", names.join(", "));
        }
        chosen.iter_mut().zip(&names).for_each(|(chosen, name)| *chosen |= fits(name));
    }
    Ok(all.into_iter().zip(chosen).filter(|(_, chosen)| *chosen).map(|(one, _)| one).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_have_names_of_their_own() {
        let names: std::collections::BTreeSet<String> = Case::all().iter().map(Case::name).collect();
        assert_eq!(names.len(), 2 * SHAPES.len());
        assert!(names.contains("f32/512x512x1/milesial") && names.contains("bf16/256x256x2/base16"));
    }

    #[test]
    fn both_sides_get_the_same_arguments() {
        let case = Case::choose(Some("f32/500x333x2/tutorial")).expect("there").remove(0);
        assert_eq!(
            case.arguments(2).join(" "),
            "--network tutorial --precision f32 --height 500 --width 333 --batch 2 --base 64 --threads 2"
        );
    }

    #[test]
    fn patterns_choose_by_part_or_by_whole_name() {
        let of = |patterns| {
            let all = vec!["contiguous", "channels_last", "compiled_contiguous"];
            choose("setting", all, |name| (*name).to_owned(), patterns)
        };
        assert_eq!(of(None).expect("all").len(), 3);
        assert_eq!(of(Some("contiguous")).expect("one"), ["contiguous"], "a whole name is that one alone");
        assert_eq!(of(Some("contig")).expect("two"), ["contiguous", "compiled_contiguous"]);
        assert_eq!(of(Some("compiled, last")).expect("two"), ["channels_last", "compiled_contiguous"]);
        let error = of(Some("channels_last,4096")).expect_err("none").to_string();
        assert!(error.contains("no setting contains `4096`") && error.contains("compiled_contiguous"), "{error}");
    }

    #[test]
    fn a_pattern_that_fits_no_case_is_an_error() {
        assert_eq!(Case::choose(Some("base")).expect("four").len(), 4);
        let error = Case::choose(Some("4096x4096")).expect_err("none");
        assert!(error.to_string().contains("f32/512x512x1/tutorial"), "{error}");
    }
}
