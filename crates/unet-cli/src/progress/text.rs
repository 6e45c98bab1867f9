//! Numbers as people read them: durations, counts, rates, losses.

use std::time::Duration;

/// `8 s`, `2 min 05 s`, `1 h 12 min`; tenths below ten seconds.
pub fn duration(d: Duration) -> String {
    let s = d.as_secs_f64();
    if s < 9.95 {
        return format!("{s:.1} s");
    }
    match s.round() as u64 {
        s @ 0..60 => format!("{s} s"),
        s @ 60..3600 => format!("{} min {:02} s", s / 60, s % 60),
        s => format!("{} h {:02} min", s / 3600, s % 3600 / 60),
    }
}

/// What is left to do: no finer than it can be known.
pub fn left(d: Duration) -> String {
    match d.as_secs_f64().round() as u64 {
        s @ 0..60 => format!("{s} s"),
        s @ 60..600 => format!("{} min {:02} s", s / 60, s % 60),
        s @ 600..3600 => format!("{} min", s / 60),
        s => format!("{} h {:02} min", s / 3600, s % 3600 / 60),
    }
}

/// A rate or a loss with as many digits as say something: `0.4971`, `41.2`, `1.2e-6`.
pub fn number(x: f64) -> String {
    match x.abs() {
        _ if !x.is_finite() => format!("{x}"),
        0.0 => "0".to_owned(),
        a if a < 1e-3 => format!("{x:.1e}"),
        a if a < 10.0 => format!("{x:.4}"),
        a if a < 1000.0 => format!("{x:.1}"),
        _ => format!("{x:.0}"),
    }
}

/// Items per second, three digits.
pub fn rate(x: f64) -> String {
    match x {
        x if x < 10.0 => format!("{x:.2}"),
        x if x < 100.0 => format!("{x:.1}"),
        x => format!("{x:.0}"),
    }
}

/// `1 image`, `24 images`.
pub fn count(n: u64, noun: &str) -> String {
    let s = if n == 1 { "" } else { "s" };
    format!("{n} {noun}{s}")
}

/// `13.4 M`, `211 k`, `8412`: how many weights.
pub fn large(n: usize) -> String {
    match n {
        0..10_000 => n.to_string(),
        10_000..1_000_000 => format!("{:.0} k", n as f64 / 1e3),
        _ => format!("{:.1} M", n as f64 / 1e6),
    }
}

/// `0, 255`.
pub fn values(values: &[u32]) -> String {
    values.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_at_their_borders() {
        let text = |s: f64| duration(Duration::from_secs_f64(s));
        assert_eq!((text(0.04), text(9.94), text(9.96)), ("0.0 s".into(), "9.9 s".into(), "10 s".into()));
        assert_eq!((text(59.4), text(59.6), text(125.0)), ("59 s".into(), "1 min 00 s".into(), "2 min 05 s".into()));
        assert_eq!(text(3600.0 * 25.5), "25 h 30 min");
        assert_eq!(
            (left(Duration::from_secs(601)), left(Duration::from_secs(61))),
            ("10 min".into(), "1 min 01 s".into())
        );
    }

    #[test]
    fn numbers_keep_the_digits_that_say_something() {
        assert_eq!([0.49712, 12.34, 1234.5, 1.26e-6].map(number), ["0.4971", "12.3", "1234", "1.3e-6"]);
        assert_eq!(number(f64::NAN), "NaN");
        assert_eq!([0.214, 41.23, 1234.0].map(rate), ["0.21", "41.2", "1234"]);
        assert_eq!((count(1, "image"), count(0, "image")), ("1 image".into(), "0 images".into()));
        assert_eq!([13_394_177, 210_700, 9_999].map(large), ["13.4 M", "211 k", "9999"]);
    }
}
