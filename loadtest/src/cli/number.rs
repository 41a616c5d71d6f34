//! Numbers of a command line that make sense.

use anyhow::{Context, Result, ensure};
use clap::builder::RangedU64ValueParser;

/// Beyond what any machine carries; a pace above it could not even be counted.
const RATE_MAX: f64 = 1e9;

/// The largest payload: half of what is read as one frame.
const SIZE_MAX: u64 = 8 << 20;

/// Reads how many a second.
pub(super) fn rate(text: &str) -> Result<f64> {
    let rate: f64 = text.parse().with_context(|| format!("{text:?} is no number"))?;
    ensure!((0.0..=RATE_MAX).contains(&rate), "a rate is from 0 to {RATE_MAX:e} a second");
    Ok(rate)
}

/// Reads a part of a whole.
pub(super) fn part(text: &str) -> Result<f64> {
    let part: f64 = text.parse().with_context(|| format!("{text:?} is no number"))?;
    ensure!((0.0..=1.0).contains(&part), "a part is from 0 to 1");
    Ok(part)
}

/// Reads how many bytes a payload has.
pub(super) fn size() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(..=SIZE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_are_none_or_too_large_are_refused() {
        assert!(rate("0").is_ok() && rate("1.5e6").is_ok() && part("1").is_ok());
        for text in ["NaN", "inf", "-1", "2e9", "many"] {
            assert!(rate(text).is_err() && part(text).is_err(), "{text}");
        }
    }
}
