//! Durations as people write them on a command line.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

/// Nobody measures for longer, and no sum of two moments overflows.
const MAX: Duration = Duration::from_hours(30 * 24);

/// Reads `500ms`, `2s`, `1.5s` or `1m`.
pub fn parse(text: &str) -> Result<Duration> {
    let digits = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: f64 = number.parse().with_context(|| format!("{text:?} is no duration, try 500ms or 2s"))?;
    let seconds = match unit {
        "ms" => number / 1000.0,
        "s" => number,
        "m" => number * 60.0,
        _ => bail!("{text:?} needs a unit: ms, s or m"),
    };
    let duration =
        Duration::try_from_secs_f64(seconds).with_context(|| format!("{text:?} is no duration"))?;
    ensure!(duration <= MAX, "{text:?} is more than 30 days");
    Ok(duration)
}

/// Reads one that is not zero.
pub fn parse_some(text: &str) -> Result<Duration> {
    let duration = parse(text)?;
    ensure!(!duration.is_zero(), "there is nothing to measure in {text}");
    Ok(duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_with_their_unit() {
        assert_eq!(parse("500ms").unwrap(), Duration::from_millis(500));
        assert_eq!(parse("1.5s").unwrap(), Duration::from_millis(1500));
        assert_eq!(parse("2m").unwrap(), Duration::from_mins(2));
    }

    #[test]
    fn a_duration_without_unit_or_below_zero_is_refused() {
        assert!(parse("10").is_err());
        assert!(parse("-1s").is_err());
        assert!(parse("soon").is_err());
        assert!(parse("1e18s").is_err() && parse("NaNs").is_err());
        assert!(parse("0s").is_ok() && parse_some("0s").is_err());
    }
}
