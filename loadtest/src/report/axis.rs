//! One axis of a chart: its range, where it has ticks and what they say.

use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};

/// A horizontal or vertical axis.
#[derive(Debug, Clone)]
pub(super) struct Axis {
    /// What it counts, with its unit.
    pub(super) name: String,
    /// Where it has ticks, as drawn.
    ticks: Vec<f64>,
    scale: Scale,
    /// The ends, as drawn.
    ends: (f64, f64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scale {
    Linear,
    /// What is drawn is the decimal logarithm.
    Logarithmic,
}

/// From this ratio of the largest to the smallest value on, small ones would be one line at the bottom.
const LOGARITHMIC_FROM: f64 = 100.0;

/// The part of its value that a [`Axis::close`] axis spans at least, so that nothing looks steep that isn't.
const CLOSE_SPAN_MIN: f64 = 0.1;

/// About as many ticks as fit.
const TICKS: f64 = 6.0;

impl Axis {
    /// From nothing to a little above the largest value.
    pub(super) fn from_zero(name: impl Into<String>, values: impl Iterator<Item = f64>) -> Self {
        let most = values.filter(|value| value.is_finite()).fold(0.0, f64::max);
        Self::linear(name, 0.0, if most > 0.0 { most * 1.08 } else { 1.0 })
    }

    /// As long as a run.
    pub(super) fn time(end: f64) -> Self {
        if end > 600.0 {
            let minutes = Self::linear("minutes since the start", 0.0, end / 60.0);
            let ticks = minutes.ticks.iter().map(|tick| tick * 60.0).collect();
            return Self { ends: (0.0, end), ticks, name: minutes.name, scale: Scale::Linear };
        }
        Self::linear("seconds since the start", 0.0, end.max(0.1))
    }

    /// Around the values, wide enough that noise looks like noise.
    pub(super) fn close(name: impl Into<String>, values: impl Iterator<Item = f64> + Clone) -> Self {
        let finite = values.filter(|value| value.is_finite());
        let most = finite.clone().fold(0.0, f64::max);
        let least = finite.fold(most, f64::min);
        let span = ((most - least) * 1.3).max(most * CLOSE_SPAN_MIN).max(1.0);
        let middle = f64::midpoint(most, least);
        let low = (middle - span / 2.0).max(0.0);
        Self::linear(name, low, low + span)
    }

    /// Linear, or logarithmic where the values are too far apart for that.
    pub(super) fn wide(name: impl Into<String>, values: impl Iterator<Item = f64> + Clone) -> Self {
        let positive = values.filter(|value| value.is_finite() && *value > 0.0);
        let most = positive.clone().fold(0.0, f64::max);
        let least = positive.clone().fold(most, f64::min);
        if most < least * LOGARITHMIC_FROM || most <= 0.0 {
            return Self::from_zero(name, positive);
        }
        let (low, high) = ((least * 0.8).log10(), (most * 1.4).log10());
        let steps: &[f64] = if high - low > 3.5 { &[1.0] } else { &[1.0, 2.0, 5.0] };
        let decades = low.floor() as i32..=high.ceil() as i32;
        let ticks = decades.flat_map(|decade| steps.iter().map(move |step| f64::from(decade) + step.log10()));
        let ticks = ticks.filter(|tick| (low..=high).contains(tick)).collect();
        Self { name: name.into(), ticks, scale: Scale::Logarithmic, ends: (low, high) }
    }

    /// Where a value is drawn: on the axis, whatever it is.
    fn place(&self, value: f64) -> f64 {
        let place = match self.scale {
            Scale::Linear => value,
            Scale::Logarithmic => value.log10(),
        };
        if place.is_nan() { self.ends.0 } else { place.clamp(self.ends.0, self.ends.1) }
    }

    /// The value at its upper end.
    pub(super) fn top(&self) -> f64 {
        self.value(self.ends.1)
    }

    /// The value at its lower end.
    pub(super) fn bottom(&self) -> f64 {
        self.value(self.ends.0)
    }

    fn value(&self, place: f64) -> f64 {
        match self.scale {
            Scale::Linear => place,
            Scale::Logarithmic => 10_f64.powf(place),
        }
    }

    /// What a tick says.
    fn label(&self, tick: f64) -> String {
        match self.scale {
            Scale::Linear if self.name.starts_with("minutes") => short(tick / 60.0),
            Scale::Linear => short(tick),
            Scale::Logarithmic => short(self.value(tick)),
        }
    }

    fn linear(name: impl Into<String>, low: f64, high: f64) -> Self {
        let rough = (high - low) / TICKS;
        let power = 10_f64.powf(rough.log10().floor());
        let step =
            [1.0, 2.0, 2.5, 5.0, 10.0].map(|nice| nice * power).into_iter().find(|step| *step >= rough);
        let step = step.unwrap_or(power * 10.0);
        let (first, last) = ((low / step).ceil() as i64, (high / step).floor() as i64);
        let ticks = (first..=last).map(|index| index as f64 * step).collect();
        Self { name: name.into(), ticks, scale: Scale::Linear, ends: (low, high) }
    }
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let part = (self.place(*value) - self.ends.0) / (self.ends.1 - self.ends.0);
        limit.0 + (part * f64::from(limit.1 - limit.0)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        if hint.weight().allow_light_points() {
            Vec::new()
        } else {
            self.ticks.iter().map(|tick| self.value(*tick)).collect()
        }
    }

    fn range(&self) -> Range<f64> {
        self.bottom()..self.top()
    }
}

impl ValueFormatter<f64> for Axis {
    fn format(value: &f64) -> String {
        short(*value)
    }

    fn format_ext(&self, value: &f64) -> String {
        self.label(self.place(*value))
    }
}

/// A number in few letters.
fn short(value: f64) -> String {
    let (scaled, unit) = match value.abs() {
        giant if giant >= 999_950_000.0 => (value / 1e9, " G"),
        large if large >= 999_950.0 => (value / 1e6, " M"),
        middling if middling >= 10_000.0 => (value / 1e3, " k"),
        _ => (value, ""),
    };
    let decimals = match scaled.abs() {
        small if small < 0.0095 => 4,
        small if small < 0.095 => 3,
        small if small < 9.95 => 2,
        small if small < 99.5 => 1,
        _ => 0,
    };
    let text = format!("{scaled:.decimals$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_numbers_within_the_axis() {
        let axis = Axis::from_zero("x", [93.0].into_iter());
        assert_eq!(axis.ticks, [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
        assert_eq!(Axis::from_zero("x", std::iter::empty()).range(), 0.0..1.0);
    }

    #[test]
    fn values_far_apart_are_drawn_by_their_logarithm() {
        let labels =
            |axis: &Axis| axis.ticks.iter().map(|tick| axis.label(*tick)).collect::<Vec<_>>().join(" ");
        let axis = Axis::wide("ms", [0.3, 100.0, 0.0, f64::NAN].into_iter());
        assert_eq!(labels(&axis), "0.5 1 2 5 10 20 50 100");
        let far = Axis::wide("ms", [0.01, 300.0].into_iter());
        assert_eq!(labels(&far), "0.01 0.1 1 10 100");
        assert!(axis.place(0.0) <= axis.ends.0, "nothing is drawn at the bottom");
        let near = Axis::wide("ms", [1.0, 99.0].into_iter());
        assert!(near.bottom() <= 0.0);
    }

    #[test]
    fn a_close_axis_does_not_make_noise_look_steep() {
        let range = Axis::close("KiB", [10_000.0, 10_001.0].into_iter()).range();
        assert!(range.end - range.start >= 1000.0 && range.contains(&10_000.0), "{range:?}");
    }

    #[test]
    fn what_is_no_number_has_a_place_all_the_same() {
        let axis = Axis::from_zero("x", [1.0].into_iter());
        assert!(axis.place(f64::NAN).is_finite() && axis.place(f64::INFINITY).is_finite());
    }

    #[test]
    fn numbers_are_short() {
        let all = [0.0, 0.005, 0.25, 12.5, 150.0, 9999.0, 20_000.0, 1_500_000.0];
        assert_eq!(all.map(short).join(" "), "0 0.005 0.25 12.5 150 9999 20 k 1.5 M");
    }
}
