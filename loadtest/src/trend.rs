//! Whether something grows: a straight line by least squares, and how sure it is.
//!
//! The error is that of independent readings. Readings of a memory follow one another, so it is too small,
//! which is why a slope must also come to something ([`GROWTH_MIN`]) before it counts.

use serde::Serialize;

/// The line through readings.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Slope {
    /// Growth per second.
    pub per_second: f64,
    /// Its standard error.
    pub error: f64,
}

/// How a figure went over the last two thirds of a run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Trend {
    /// The reading before anything happened.
    pub first: f64,
    /// The last reading.
    pub last: f64,
    /// The line.
    pub slope: Slope,
    /// How long the readings behind the line took, in seconds.
    pub window_s: f64,
    /// What the line says it grew by meanwhile, as a part of the mean.
    pub growth: f64,
    /// The judgement.
    pub grows: bool,
}

/// How many standard errors a slope must be above zero to count.
pub const ERRORS_MIN: f64 = 3.0;

/// The part of the mean that a figure must have grown by to count.
pub const GROWTH_MIN: f64 = 0.01;

impl Slope {
    /// Fits readings at times in seconds; none for fewer than three, or if all are at one moment.
    pub fn through(points: &[(f64, f64)]) -> Option<Self> {
        let count = points.len() as f64;
        let mean = |pick: fn(&(f64, f64)) -> f64| points.iter().map(pick).sum::<f64>() / count;
        let (mean_at, mean_value) = (mean(|point| point.0), mean(|point| point.1));
        let spread: f64 = points.iter().map(|(at, _)| (at - mean_at).powi(2)).sum();
        if points.len() < 3 || spread <= 0.0 {
            return None;
        }
        let shared: f64 = points.iter().map(|(at, value)| (at - mean_at) * (value - mean_value)).sum();
        let per_second = shared / spread;
        let left: f64 =
            points.iter().map(|(at, value)| (value - mean_value - per_second * (at - mean_at)).powi(2)).sum();
        Some(Self { per_second, error: (left / (count - 2.0) / spread).sqrt() })
    }
}

impl Trend {
    /// Judges readings at times in seconds: the first third is not looked at, because caches and
    /// allocators fill up first.
    pub fn of(points: &[(f64, f64)]) -> Option<Self> {
        let (first, last) = (points.first()?, points.last()?);
        let from = first.0 + (last.0 - first.0) / 3.0;
        let late: Vec<_> = points.iter().copied().filter(|(at, _)| *at >= from).collect();
        let slope = Slope::through(&late)?;
        let window_s = last.0 - late.first()?.0;
        let mean = late.iter().map(|(_, value)| value).sum::<f64>() / late.len() as f64;
        let growth = if mean > 0.0 { slope.per_second * window_s / mean } else { 0.0 };
        let grows = slope.per_second > ERRORS_MIN * slope.error && growth > GROWTH_MIN;
        Some(Self { first: first.1, last: last.1, slope, window_s, growth, grows })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn readings(value: impl Fn(f64) -> f64) -> Vec<(f64, f64)> {
        (0..300).map(|second| (f64::from(second), value(f64::from(second)))).collect()
    }

    /// Alternates, so it has no slope of its own.
    fn noise(at: f64) -> f64 {
        if at % 2.0 < 1.0 { 50.0 } else { -50.0 }
    }

    #[test]
    fn a_slope_and_its_error_are_those_of_the_textbook() {
        let slope = Slope::through(&[(1.0, 2.0), (2.0, 4.0), (3.0, 5.0), (4.0, 4.0), (5.0, 5.0)]).unwrap();
        assert!((slope.per_second - 0.6).abs() < 1e-12, "{slope:?}");
        assert!((slope.error - 0.08_f64.sqrt()).abs() < 1e-12, "{slope:?}");
        assert_eq!(Slope::through(&[(1.0, 2.0), (2.0, 4.0)]), None);
        assert_eq!(Slope::through(&[(1.0, 2.0); 3]), None);
    }

    #[test]
    fn steady_growth_is_told_through_noise() {
        let trend = Trend::of(&readings(|at| 5000.0 + at + noise(at))).unwrap();
        assert!(trend.grows, "{trend:?}");
        assert!((trend.slope.per_second - 1.0).abs() < 0.1, "{trend:?}");
        assert!((trend.window_s - 199.0).abs() < 1.0, "{trend:?}");
    }

    #[test]
    fn noise_is_flat_and_so_is_what_shrinks() {
        assert!(!Trend::of(&readings(|at| 5000.0 + noise(at))).unwrap().grows);
        assert!(!Trend::of(&readings(|at| 5000.0 - at)).unwrap().grows);
    }

    #[test]
    fn growth_that_is_certain_but_comes_to_nothing_is_flat() {
        let trend = Trend::of(&readings(|at| 1_000_000.0 + at)).unwrap();
        assert!(trend.slope.per_second > ERRORS_MIN * trend.slope.error);
        assert!(!trend.grows, "{trend:?}");
    }

    #[test]
    fn what_fills_up_in_the_first_third_is_not_held_against_it() {
        assert!(!Trend::of(&readings(|at| 1000.0 + at.min(99.0) * 50.0)).unwrap().grows);
    }
}
