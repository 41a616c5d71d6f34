//! Which charts a record has, and what each shows when there is nothing to see.

use std::collections::BTreeSet;

use super::{
    axis::Axis,
    svg::{Chart, Point, Series, Shape},
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
        area(record, "the load's own lateness", 5, |sample| {
            Some((sample.behind_ms, 0.0)).filter(|(ms, _)| *ms > 0.0)
        }),
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

fn throughput(record: &Record) -> Plot {
    let delivered = record.samples.iter().any(|sample| sample.deliveries_per_second > 0.0);
    let achieved = over_time(record, |sample| delivered.then_some(sample.deliveries_per_second));
    let series = vec![
        line("achieved", 0, Shape::Thick, achieved),
        line("intended", 1, Shape::Dashed, over_time(record, |sample| sample.intended_per_second)),
    ];
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

/// The record with its CPU averaged over a second around each sample: the kernel counts in ticks of 10 ms,
/// which are steps of 4 % in a quarter of a second.
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
    let points = over_time(record, |sample| sample.redis_commands_per_second);
    let series = vec![line("commands", 0, Shape::Thick, points)];
    let y = Axis::from_zero("commands per second", values(&series));
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
    let marks = good.map(|index| (record.steps[index].achieved, "knee".to_owned()));
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
    let marks = record.marks.iter().map(|mark| (mark.at_s, mark.text.clone())).collect();
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
