//! Which charts a record has, and what each shows when there is nothing to see.

use std::collections::BTreeSet;

use super::{
    axis::Axis,
    svg::{Chart, MarkLine, Point, Series, Shape},
};
use crate::record::{Record, Sample};

/// A chart, and the words for it without data.
pub(super) struct Plot {
    pub(super) chart: Chart,
    pub(super) nothing: &'static str,
}

/// All plots of a record, in reading order.
pub(super) fn plots(record: &Record) -> Vec<Plot> {
    let mut plots = Vec::new();
    if !record.steps.is_empty() {
        plots.extend(climb(record));
    }
    plots.extend([latency(record), throughput(record), cpu(record), memory(record), descriptors(record)]);
    plots.push(peers(record));
    if record.samples.iter().any(|sample| sample.redis_commands_per_second.is_some()) {
        plots.push(redis(record));
    }
    if record.samples.iter().any(|sample| sample.faults > 0) {
        plots.push(faults(record));
    }
    plots
}

const NO_SERVER: &str =
    "Nothing to show: the server's process was not given (--server-pid), or the run was too short.";

fn latency(record: &Record) -> Plot {
    let pick = |pick: fn(&crate::statistics::Summary) -> f64| {
        over_time(record, |sample| Some(pick(sample.latency.as_ref()?)))
    };
    let series = vec![
        lateness(record),
        line("p50", 0, Shape::Line, pick(|latency| latency.p50_ms)),
        line("p99", 1, Shape::Thick, pick(|latency| latency.p99_ms)),
        line("max", 3, Shape::Dashed, pick(|latency| latency.max_ms)),
    ];
    let latencies = values(&series[1..]);
    let y = Axis::wide("latency in ms", latencies);
    let mut plot = timed(record, "Latency over time", y, series, "Nothing to show: nothing was delivered.");
    // How late the load was says nothing where nothing was delivered.
    if plot.chart.series[1..].iter().all(Series::is_empty) {
        plot.chart.series.remove(0);
    }
    plot
}

/// How late the load published, up to which latencies are its own. What left late at the end of an interval
/// is delivered in the next, so each has that of the one before as well.
fn lateness(record: &Record) -> Series {
    let before = [0.0].into_iter().chain(record.samples.iter().map(|sample| sample.behind_ms));
    let points = record.samples.iter().zip(before).map(|(sample, before)| {
        let y = sample.behind_ms.max(before);
        Some(Point { x: middle(sample), y, low: 0.0 }).filter(|_| y.is_finite() && y > 0.0)
    });
    Series {
        name: "the load's own lateness".to_owned(),
        ink: 5,
        shape: Shape::Area,
        points: points.collect(),
    }
}

/// Where the measured time begins, an interval ends early, however short it is. A rate over less than this,
/// in seconds, is that of a handful of deliveries.
const RATE_SPAN_MIN: f64 = 0.1;

fn throughput(record: &Record) -> Plot {
    let samples = record.samples.iter().filter(|sample| sample.span_s >= RATE_SPAN_MIN).cloned();
    let record = &Record { samples: samples.collect(), ..record.clone() };
    let delivered = record.samples.iter().any(|sample| sample.deliveries_per_second > 0.0);
    let achieved = over_time(record, |sample| delivered.then_some(sample.deliveries_per_second));
    // What is waited for afterwards was asked for before.
    let end =
        record.marks.iter().find(|mark| mark.text == "measured").map_or(f64::INFINITY, |mark| mark.at_s);
    let intended = over_time(record, |sample| sample.intended_per_second.filter(|_| middle(sample) < end));
    let series =
        vec![line("achieved", 0, Shape::Thick, achieved), line("intended", 1, Shape::Dashed, intended)];
    let y = Axis::from_zero("deliveries per second", values(&series));
    timed(record, "Throughput over time", y, series, "Nothing to show: nothing was published.")
}

fn cpu(record: &Record) -> Plot {
    let record = &over_a_second(record);
    let mut series = vec![
        area(record, "server, system", 1, |sample| Some((sample.server_system?, 0.0))),
        area(record, "server, user", 0, |sample| {
            let system = sample.server_system?;
            Some((system + sample.server_user?, system))
        }),
    ];
    let names = record.samples.iter().flat_map(|sample| sample.beside.keys().cloned());
    for (index, name) in names.collect::<BTreeSet<_>>().into_iter().enumerate() {
        let shape = if index % 2 == 0 { Shape::Line } else { Shape::Dashed };
        let points = over_time(record, |sample| sample.beside.get(&name).copied());
        series.push(line(name, 2 + index % 2, shape, points));
    }
    let redis = over_time(record, |sample| sample.redis_cpu);
    series.push(line("redis' main thread (INFO)", 4, Shape::Dashed, redis));
    let y = Axis::from_zero("cores, over a second", values(&series));
    timed(record, "CPU over time", y, series, NO_SERVER)
}

/// The record with its CPU and what Redis did averaged over a second around each sample: the kernel counts in
/// ticks of 10 ms, which are steps of 4 % in a quarter of a second, and a node speaks to Redis every half.
fn over_a_second(record: &Record) -> Record {
    let samples = record.samples.iter().map(|sample| {
        let around = |other: &&Sample| (middle(other) - middle(sample)).abs() <= 0.5;
        let near: Vec<_> = record.samples.iter().filter(around).collect();
        let mean = |pick: &dyn Fn(&Sample) -> Option<f64>| {
            let spans: f64 =
                near.iter().filter(|other| pick(other).is_some()).map(|other| other.span_s).sum();
            let cores: f64 = near.iter().filter_map(|other| Some(pick(other)? * other.span_s)).sum();
            pick(sample).map(|_| cores / spans)
        };
        let beside = sample.beside.keys().filter_map(|name| {
            Some((name.clone(), mean(&|other: &Sample| other.beside.get(name).copied())?))
        });
        Sample {
            server_user: mean(&|other: &Sample| other.server_user),
            server_system: mean(&|other: &Sample| other.server_system),
            redis_cpu: mean(&|other: &Sample| other.redis_cpu),
            redis_commands_per_second: mean(&|other: &Sample| other.redis_commands_per_second),
            beside: beside.collect(),
            ..sample.clone()
        }
    });
    Record { samples: samples.collect(), ..record.clone() }
}

fn memory(record: &Record) -> Plot {
    let points = over_time(record, |sample| Some(sample.memory_kib? as f64 / 1024.0));
    let series = vec![line("anonymous memory", 0, Shape::Thick, points)];
    let y = Axis::close("MiB", values(&series));
    timed(record, "Server memory over time", y, series, NO_SERVER)
}

fn descriptors(record: &Record) -> Plot {
    let points = over_time(record, |sample| sample.descriptors.map(|count| count as f64));
    let series = vec![line("open descriptors", 0, Shape::Thick, points)];
    let y = Axis::close("descriptors", values(&series));
    timed(record, "Server descriptors over time", y, series, NO_SERVER)
}

fn peers(record: &Record) -> Plot {
    let series = vec![line(
        "connected peers",
        0,
        Shape::Thick,
        over_time(record, |sample| Some(f64::from(sample.peers))),
    )];
    let y = Axis::from_zero("peers", values(&series));
    timed(record, "Peers over time", y, series, "Nothing to show: the run was too short.")
}

fn redis(record: &Record) -> Plot {
    let record = &over_a_second(record);
    let points = over_time(record, |sample| sample.redis_commands_per_second);
    let series = vec![line("commands", 0, Shape::Thick, points)];
    let y = Axis::from_zero("commands per second, over a second", values(&series));
    timed(record, "Redis over time", y, series, "Nothing to show: the run was too short.")
}

fn faults(record: &Record) -> Plot {
    let series =
        vec![line("faults so far", 1, Shape::Thick, over_time(record, |sample| Some(sample.faults as f64)))];
    let y = Axis::from_zero("faults", values(&series));
    timed(record, "Faults over time", y, series, "")
}

/// p99 and price against what was carried. The knee is the last good step.
fn climb(record: &Record) -> [Plot; 2] {
    let good = record.steps.iter().rposition(|step| step.fault.is_none());
    let marks =
        good.map(|index| MarkLine { at: record.steps[index].achieved, labels: vec!["knee".to_owned()] });
    let of = |title, unit: &str, pick: fn(&crate::record::StepRow) -> Option<f64>, nothing| {
        let points = |wanted: fn(bool) -> bool| {
            let steps = record.steps.iter();
            let place =
                |step: &crate::record::StepRow| Some(Point { x: step.achieved, y: pick(step)?, low: 0.0 });
            steps.map(|step| place(step).filter(|_| wanted(step.fault.is_none()))).collect::<Vec<_>>()
        };
        let series = vec![
            line("steps in their order", 4, Shape::Line, points(|_| true)),
            line("good", 0, Shape::Dots, points(|good| good)),
            line("bad", 1, Shape::Rings, points(|good| !good)),
        ];
        let y = Axis::wide(unit, values(&series));
        let x = Axis::wide("deliveries achieved per second", record.steps.iter().map(|step| step.achieved));
        Plot { chart: Chart { title, x, y, series, marks: marks.iter().cloned().collect() }, nothing }
    };
    [
        of(
            "p99 by achieved rate",
            "p99 in ms",
            |step| Some(step.latency.p99_ms),
            "Nothing to show: no step delivered anything.",
        ),
        of(
            "CPU per delivery by achieved rate",
            "server CPU per delivery in µs",
            |step| step.cpu_us,
            NO_SERVER,
        ),
    ]
}

fn timed(record: &Record, title: &'static str, y: Axis, series: Vec<Series>, nothing: &'static str) -> Plot {
    let samples = record.samples.iter().map(|sample| sample.at_s);
    let end = samples.chain(record.marks.iter().map(|mark| mark.at_s)).fold(0.0, f64::max);
    // Numbers are those of the list below the plots. A space instead of the colon, and a rate would be
    // another: `1 100000/s`.
    let marks = record.marks.iter().enumerate().map(|(index, mark)| {
        let number = index + 1;
        MarkLine { at: mark.at_s, labels: vec![format!("{number}: {}", mark.text), number.to_string()] }
    });
    let marks = marks.collect();
    Plot { chart: Chart { title, x: Axis::time(end), y, series, marks }, nothing }
}

fn line(name: impl Into<String>, ink: usize, shape: Shape, points: Vec<Option<Point>>) -> Series {
    Series { name: name.into(), ink, shape, points }
}

fn area(record: &Record, name: &str, ink: usize, pick: impl Fn(&Sample) -> Option<(f64, f64)>) -> Series {
    let points = record.samples.iter().map(|sample| {
        let (y, low) = pick(sample).filter(|(y, low)| y.is_finite() && low.is_finite())?;
        Some(Point { x: middle(sample), y, low })
    });
    Series { name: name.to_owned(), ink, shape: Shape::Area, points: points.collect() }
}

fn over_time(record: &Record, pick: impl Fn(&Sample) -> Option<f64>) -> Vec<Option<Point>> {
    let points = record.samples.iter().map(|sample| {
        let y = pick(sample).filter(|value| value.is_finite())?;
        Some(Point { x: middle(sample), y, low: 0.0 })
    });
    points.collect()
}

/// A sample tells of its whole interval.
fn middle(sample: &Sample) -> f64 {
    sample.at_s - sample.span_s / 2.0
}

fn values(series: &[Series]) -> impl Iterator<Item = f64> + Clone + '_ {
    series.iter().flat_map(|series| series.points.iter().flatten()).map(|point| point.y)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(behind_ms: [f64; 4]) -> Record {
        let sample = |(index, behind_ms): (usize, f64)| {
            let span_s = if index == 2 { 0.01 } else { 0.25 };
            let at_s = 0.25 * (index + 1) as f64;
            Sample { at_s, span_s, deliveries_per_second: 100.0, behind_ms, ..Sample::default() }
        };
        let samples = behind_ms.into_iter().enumerate().map(sample).collect();
        Record { samples, ..Record::begin("fanout", "a test") }
    }

    #[test]
    fn what_left_late_is_late_in_the_next_interval_too() {
        let grey = lateness(&record([0.0, 270.0, 0.1, 0.1]));
        let heights: Vec<_> = grey.points.iter().map(|point| point.map(|point| point.y)).collect();
        assert_eq!(heights, [None, Some(270.0), Some(270.0), Some(0.1)]);
    }

    #[test]
    fn the_throughput_of_hardly_any_time_is_not_drawn() {
        let drawn = throughput(&record([0.0; 4])).chart.series[0].points.len();
        assert_eq!(drawn, 3);
    }
}
