//! Time spans and sizes as text: `100ms`, `7d`, `64KiB`.

use std::time::Duration;

/// Reads `100ms`, `30s`, `5m`, `24h`, `7d`, or a bare `0`.
///
/// Bounded by ten years, so that adding one to a clock can't overflow.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    let refused = || format!("{text:?} is not a time span; use for example 100ms, 30s, 5m, 24h or 7d");
    let (number, unit) = split_unit(text).ok_or_else(refused)?;
    let scale = match unit {
        "" if number == 0 => 1,
        unit => unit_of(unit, &TIMES).ok_or_else(refused)?,
    };
    let span = number.checked_mul(scale).filter(|ms| *ms <= DURATION_MS_MAX);
    span.map(Duration::from_millis).ok_or_else(|| format!("{text:?} is too long; at most 3650d are allowed"))
}

/// Prints a span of whole milliseconds in its largest fitting unit.
pub(super) fn print_duration(span: Duration) -> String {
    let ms = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    if ms == 0 { "0s".to_owned() } else { print_unit(ms, &TIMES) }
}

/// Reads `512B`, `64KiB`, `1MiB`, `2GiB`, or a plain number of bytes.
pub(super) fn parse_size(text: &str) -> Result<u64, String> {
    let refused = || format!("{text:?} is not a size; use for example 64KiB, 1MiB or 512B");
    let (number, unit) = split_unit(text).ok_or_else(refused)?;
    let scale = if unit.is_empty() { 1 } else { unit_of(unit, &SIZES).ok_or_else(refused)? };
    let bytes = number.checked_mul(scale).filter(|bytes| *bytes <= SIZE_MAX);
    bytes.ok_or_else(|| format!("{text:?} is too large; at most 1024GiB are allowed, and 0 means no limit"))
}

/// Prints a size in its largest fitting unit.
pub(super) fn print_size(bytes: u64) -> String {
    if bytes == 0 { "0B".to_owned() } else { print_unit(bytes, &SIZES) }
}

fn split_unit(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    Some((number.parse().ok()?, unit.trim_start_matches(' ')))
}

fn unit_of(unit: &str, units: &[(&str, u64)]) -> Option<u64> {
    units.iter().find(|(name, _)| *name == unit).map(|(_, scale)| *scale)
}

fn print_unit(amount: u64, units: &[(&str, u64)]) -> String {
    let fitting = units.iter().rev().find(|(_, scale)| amount.is_multiple_of(*scale));
    let (name, scale) = fitting.expect("the smallest unit is 1, which divides everything");
    format!("{}{name}", amount / scale)
}

/// Milliseconds, smallest first.
const TIMES: [(&str, u64); 5] =
    [("ms", 1), ("s", 1000), ("m", 60 * 1000), ("h", 3600 * 1000), ("d", 24 * 3600 * 1000)];

const DURATION_MS_MAX: u64 = 3650 * 24 * 3600 * 1000;

/// Bytes, smallest first.
const SIZES: [(&str, u64); 4] = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

const SIZE_MAX: u64 = 1 << 40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_prints_as_it_was_written() {
        for text in ["0s", "100ms", "30s", "5m", "24h", "7d", "1500ms", "90s"] {
            let span = parse_duration(text).unwrap();
            assert_eq!(parse_duration(&print_duration(span)), Ok(span), "{text}");
        }
        assert_eq!(parse_duration("1500ms"), Ok(Duration::from_millis(1500)));
        assert_eq!(print_duration(Duration::from_hours(7 * 24)), "7d");
        assert_eq!(parse_duration("0"), Ok(Duration::ZERO));
    }

    #[test]
    fn what_is_no_span_is_refused_with_an_example() {
        for text in ["", "s", "30", "30 potatoes", "-1s", "1.5s", "1h30m", "99999999999999999999s"] {
            let problem = parse_duration(text).unwrap_err();
            assert!(problem.contains("not a time span; use for example 100ms"), "{problem}");
        }
        assert!(parse_duration("3651d").unwrap_err().contains("at most 3650d"));
        assert!(parse_duration("18446744073709551615d").unwrap_err().contains("at most 3650d"));
    }

    #[test]
    fn a_size_prints_as_it_was_written() {
        for text in ["0B", "512B", "64KiB", "1MiB", "3GiB", "1025B"] {
            assert_eq!(print_size(parse_size(text).unwrap()), text);
        }
        assert_eq!(parse_size("4096"), Ok(4096));
        assert_eq!(parse_size("64 KiB"), Ok(65536));
    }

    #[test]
    fn what_is_no_size_is_refused_with_an_example() {
        for text in ["", "KiB", "64 potatoes", "64KB", "64kib", "-1", "1.5MiB"] {
            let problem = parse_size(text).unwrap_err();
            assert!(problem.contains("is not a size; use for example 64KiB"), "{problem}");
        }
        assert!(parse_size("2000GiB").unwrap_err().contains("at most 1024GiB"));
    }
}
