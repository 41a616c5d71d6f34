//! The page of a report, read back as XML.

use std::collections::BTreeMap;

use dunlin_loadtest::{
    record::{Figure, Mark, Record, Sample, StepRow, Verdict},
    report::page,
    statistics::Summary,
};
use roxmltree::{Document, Node, ParsingOptions};

fn latency(p99_ms: f64) -> Summary {
    Summary { p50_ms: p99_ms / 4.0, p99_ms, p999_ms: p99_ms * 1.5, max_ms: p99_ms * 2.0 }
}

/// A minute in which the server stands still once, and the load is late once.
fn samples() -> Vec<Sample> {
    let sample = |second: u32| {
        let at_s = f64::from(second + 1);
        let wave = (at_s / 7.0).sin();
        let stands_still = second == 20;
        Sample {
            at_s,
            span_s: 1.0,
            intended_per_second: Some(30_000.0),
            deliveries_per_second: if stands_still { 4000.0 } else { 30_000.0 + wave * 300.0 },
            publications_per_second: 30.0,
            latency: Some(latency(if stands_still { 420.0 } else { 1.2 + wave * 0.3 })),
            peers: 1000 + (wave * 20.0) as u32,
            faults: 0,
            behind_ms: if second == 40 { 30.0 } else { 0.05 },
            server_user: Some(0.2 + wave * 0.02),
            server_system: Some(0.45 + wave * 0.04),
            memory_kib: Some(9000 + u64::from(second)),
            descriptors: Some(1023),
            beside: BTreeMap::from([("redis".to_owned(), 0.1), ("other <node>".to_owned(), 0.3)]),
            redis_commands_per_second: Some(500.0 + wave * 10.0),
            redis_cpu: Some(0.08),
        }
    };
    (0..60).map(sample).collect()
}

fn steps() -> Vec<StepRow> {
    let step = |index: i32| {
        let intended = 50_000.0 * 1.15_f64.powi(index);
        StepRow {
            intended,
            achieved: intended * if index == 9 { 0.8 } else { 0.99 },
            latency: latency(0.8 * 1.8_f64.powi(index)),
            cpu_us: Some(3.0 - f64::from(index) * 0.2),
            fault: (index == 9).then(|| "behind".to_owned()),
        }
    };
    (0..10).map(step).collect()
}

fn record() -> Record {
    let mark = |at_s: f64, text: &str| Mark { at_s, text: text.to_owned() };
    Record {
        scenario: "fanout".to_owned(),
        title: "one topic & <1000> peers".to_owned(),
        command: ["dunlin-loadtest", "fanout", "--url", "ws://127.0.0.1:1/a?b=<c>&d"]
            .map(str::to_owned)
            .into(),
        machine: "a \"machine\"".to_owned(),
        started_unix_s: 951_782_400,
        verdict: Verdict::Bad { why: "3 lost <script>alert(1)</script>".to_owned() },
        figures: vec![
            Figure::new("deliveries <achieved>", 1_234_567.0, "/s"),
            Figure::new("server CPU per delivery", None, "µs"),
        ],
        steps: Vec::new(),
        samples: samples(),
        marks: vec![
            mark(19.9, "the server stands <still>"),
            mark(40.0, "late"),
            mark(40.4, "very much later"),
        ],
    }
}

fn with_page<T>(record: &Record, look: impl FnOnce(&Document<'_>, &str) -> T) -> T {
    let html = page::html(record).unwrap();
    let options = ParsingOptions { allow_dtd: true, ..ParsingOptions::default() };
    let document = Document::parse_with_options(&html, options).expect("the page is XML");
    look(&document, &html)
}

/// The plots by title: how many lines, areas and dots each has, none if it says that there is nothing.
fn plots(document: &Document<'_>) -> Vec<(String, Option<usize>)> {
    let figures = document.descendants().filter(|node| node.has_tag_name("figure"));
    let shapes = |node: &Node<'_, '_>| ["polyline", "polygon", "circle"].contains(&node.tag_name().name());
    let plot = |figure: Node<'_, '_>| {
        let title = figure.descendants().find(|node| node.has_tag_name("figcaption")).unwrap();
        let mut drawings = figure.descendants().filter(|node| node.attribute("class") == Some("plot"));
        let drawn = drawings.next().map(|svg| svg.descendants().filter(shapes).count());
        (title.text().unwrap().to_owned(), drawn)
    };
    figures.map(plot).collect()
}

const OVER_TIME: [&str; 6] = [
    "Latency over time",
    "Throughput over time",
    "CPU over time",
    "Server memory over time",
    "Server descriptors over time",
    "Peers over time",
];

#[test]
fn every_plot_is_there_and_has_something_drawn() {
    with_page(&record(), |document, _| {
        let plots = plots(document);
        for title in OVER_TIME.into_iter().chain(["Redis over time"]) {
            let (_, drawn) =
                plots.iter().find(|(name, _)| name == title).unwrap_or_else(|| panic!("{title}"));
            assert!(drawn.unwrap_or_default() > 0, "{title} is empty");
        }
        assert_eq!(plots.len(), OVER_TIME.len() + 1, "there was no fault and no climb");
    });
}

#[test]
fn a_climb_has_its_knee_marked_and_its_steps_in_a_table() {
    let record = Record { steps: steps(), verdict: Verdict::Good, ..record() };
    with_page(&record, |document, _| {
        let plots = plots(document);
        assert_eq!(plots[0].0, "p99 by achieved rate");
        assert!(plots[..2].iter().all(|(_, drawn)| drawn.unwrap_or_default() > 10), "{plots:?}");
        let texts = |name| document.descendants().filter(move |node| node.has_tag_name(name));
        assert_eq!(
            texts("text").filter(|text| text.text().is_some_and(|text| text.contains("knee"))).count(),
            2
        );
        let knee = texts("td").find(|cell| cell.text() == Some("good, the knee")).unwrap();
        assert_eq!(knee.parent().unwrap().children().next().unwrap().text(), Some("152\u{202f}951"));
    });
}

#[test]
fn what_was_not_measured_is_said_and_not_drawn() {
    let bare = |sample: Sample| Sample { at_s: sample.at_s, span_s: sample.span_s, ..Sample::default() };
    let record = Record { samples: samples().into_iter().map(bare).collect(), ..record() };
    with_page(&record, |document, html| {
        let plots = plots(document);
        let drawn: Vec<_> =
            plots.iter().filter(|(_, drawn)| drawn.is_some()).map(|(name, _)| &**name).collect();
        assert_eq!(drawn, ["Peers over time"], "nobody is a number too");
        assert_eq!(html.matches("Nothing to show").count(), 5);
    });
    with_page(
        &Record { samples: Vec::new(), figures: Vec::new(), marks: Vec::new(), ..record },
        |document, _| {
            assert!(plots(document).iter().all(|(_, drawn)| drawn.is_none()));
        },
    );
}

#[test]
fn numbers_that_are_none_leave_no_trace_in_a_path() {
    let mut record = record();
    record.samples[3].deliveries_per_second = f64::NAN;
    record.samples[4].latency = Some(latency(f64::INFINITY));
    record.samples[5].server_user = Some(f64::NAN);
    record.samples[6].behind_ms = f64::NAN;
    record.figures.push(Figure::new("odd", f64::NAN, ""));
    with_page(&record, |document, _| {
        let coordinates = document.descendants().flat_map(|node| {
            let names = ["points", "x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "r", "width", "height"];
            names.into_iter().filter_map(move |name| node.attribute(name))
        });
        let numbers: Vec<_> = coordinates.flat_map(|text| text.split([' ', ','])).collect();
        assert!(numbers.len() > 1000);
        for number in numbers.into_iter().filter(|number| !number.is_empty() && !number.ends_with('%')) {
            assert!(number.parse::<f64>().is_ok_and(f64::is_finite), "{number:?}");
        }
    });
}

#[test]
fn a_page_says_what_it_was_given_and_runs_nothing_of_it() {
    with_page(&record(), |document, html| {
        let text = |name, class| {
            let mut all = document.descendants();
            all.find(|node: &Node<'_, '_>| node.has_tag_name(name) && node.attribute("class") == class)
                .unwrap()
                .text()
        };
        assert_eq!(text("p", Some("title")), Some("one topic & <1000> peers"));
        assert!(text("p", Some("verdict bad")).unwrap().contains("3 lost <script>"));
        assert_eq!(text("code", None), Some("dunlin-loadtest fanout --url 'ws://127.0.0.1:1/a?b=<c>&d'"));
        assert!(document.descendants().all(|node| !node.has_tag_name("script")));
        assert!(html.contains("2000-02-29 00:00 UTC") && html.contains("not measured"));
    });
}

#[test]
fn a_page_needs_nothing_from_outside() {
    with_page(&Record { steps: steps(), ..record() }, |document, html| {
        for name in ["src", "href", "data", "action"] {
            assert!(document.descendants().all(|node| node.attribute(name).is_none()), "{name}");
        }
        assert!(!html.contains("url(") && !html.contains("@import"));
    });
}

#[test]
fn no_colour_is_fixed() {
    with_page(&Record { steps: steps(), ..record() }, |document, _| {
        for node in document.descendants() {
            for colour in ["fill", "stroke"].into_iter().filter_map(|name| node.attribute(name)) {
                assert!(!colour.starts_with('#'), "{colour} is the same in light and dark");
            }
        }
    });
}

#[test]
fn a_report_is_a_page_and_the_whole_record() {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("a/report");
    let page = page::write(&folder, &Record { steps: steps(), ..record() }).unwrap();
    assert!(std::fs::read_to_string(page).unwrap().starts_with("<!DOCTYPE html>"));
    let json = std::fs::read_to_string(folder.join("report.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["verdict"]["is"], "bad");
    assert_eq!(
        (json["samples"].as_array().unwrap().len(), json["steps"].as_array().unwrap().len()),
        (60, 10)
    );
    assert_eq!(json["samples"][20]["latency"]["p99_ms"], 420.0);
}
