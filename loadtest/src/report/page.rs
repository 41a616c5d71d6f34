//! A run as one page that needs nothing else: no script, no font, no network. And as JSON beside it.

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use super::{
    html::{command_line, date, escape, number},
    plot::{Plot, plots},
    svg::Shape,
};
use crate::{
    pacer::BEHIND_MAX,
    record::{Record, StepRow, Verdict},
    scenario::climb::ACHIEVED_MIN,
};

/// Makes the folder if it isn't there, and sees that a report can be written into it: nobody wants to hear
/// that after a run.
pub fn prepare(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("{} can't be made", folder.display()))?;
    let page = folder.join("report.html");
    fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(&page)
        .with_context(|| format!("{} can't be written", page.display()))?;
    Ok(())
}

/// Writes `report.json` and `report.html` into a folder, which is made if it isn't there. The answer is the
/// page's path.
pub fn write(folder: &Path, record: &Record) -> Result<PathBuf> {
    prepare(folder)?;
    let (json, page) = (folder.join("report.json"), folder.join("report.html"));
    fs::write(&json, serde_json::to_string_pretty(record)? + "\n")
        .with_context(|| format!("{} can't be written", json.display()))?;
    fs::write(&page, html(record)?).with_context(|| format!("{} can't be written", page.display()))?;
    Ok(page)
}

/// The page. It is XML as well as HTML, so that any tool can read it.
pub fn html(record: &Record) -> Result<String> {
    let mut body = head(record);
    body += &warning(record);
    body += &figures(record);
    body += "<section>\n<h2>Plots</h2>\n<div class=\"plots\">\n";
    for plot in plots(record) {
        body += &figure(&plot)?;
    }
    body += "</div>\n</section>\n";
    body += &moments(record);
    body += &steps(&record.steps);
    Ok(format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
         <meta name=\"color-scheme\" content=\"light dark\"/>\n<title>{}: {}</title>\n<style>\n{STYLE}</style>\n\
         </head>\n<body>\n{body}</body>\n</html>\n",
        escape(&record.scenario),
        escape(&record.title),
    ))
}

/// Holds no `<` and no `&`, so it is the same in HTML and XML.
const STYLE: &str = include_str!("page.css");

fn head(record: &Record) -> String {
    let (class, word) = match &record.verdict {
        Verdict::Good => ("good", "\u{2713} good".to_owned()),
        Verdict::Bad { why } => ("bad", format!("\u{2717} bad: {why}")),
    };
    format!(
        "<header>\n<h1>{}</h1>\n<p class=\"title\">{}</p>\n<p class=\"verdict {class}\">{}</p>\n\
         <dl>\n<dt>Command</dt><dd><code>{}</code></dd>\n<dt>Machine</dt><dd>{}</dd>\n<dt>Began</dt><dd>{}</dd>\n\
         </dl>\n</header>\n",
        escape(&record.scenario),
        escape(&record.title),
        escape(&word),
        escape(&command_line(&record.command)),
        escape(&record.machine),
        date(record.started_unix_s),
    )
}

/// Says so if the load didn't keep its own pace: no verdict tells.
fn warning(record: &Record) -> String {
    let latest = record.samples.iter().map(|sample| sample.behind_ms).fold(0.0, f64::max);
    let limit = BEHIND_MAX as f64 / 1e6;
    if latest <= limit {
        return String::new();
    }
    format!(
        "<p class=\"warning\">The load published up to {} ms late, more than {} ms: where its plot is grey, \
         latencies are also the load's own.</p>\n",
        number(latest),
        number(limit),
    )
}

fn figures(record: &Record) -> String {
    let title = if record.steps.is_empty() { "Figures" } else { "Figures at the knee" };
    let mut table = format!("<section>\n<h2>{title}</h2>\n<table class=\"figures\">\n<tbody>\n");
    for figure in &record.figures {
        let value = figure.value.map_or_else(|| "not measured".to_owned(), number);
        let unit = if figure.value.is_some() { figure.unit } else { "" };
        let _ = writeln!(
            table,
            "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td></tr>",
            escape(&figure.name),
            escape(&value),
            escape(unit)
        );
    }
    if record.figures.is_empty() {
        table += "<tr><td>none</td></tr>\n";
    }
    table + "</tbody>\n</table>\n</section>\n"
}

fn figure(plot: &Plot) -> Result<String> {
    let title = escape(plot.chart.title);
    if plot.chart.is_empty() {
        let nothing = escape(plot.nothing);
        return Ok(format!(
            "<figure>\n<figcaption>{title}</figcaption>\n<p class=\"empty\">{nothing}</p>\n</figure>\n"
        ));
    }
    let mut legend = String::new();
    for series in plot.chart.series.iter().filter(|series| !series.is_empty()) {
        let _ = writeln!(legend, "<li>{}{}</li>", key(series.shape, series.ink), escape(&series.name));
    }
    let svg = plot.chart.draw()?;
    Ok(format!(
        "<figure>\n<figcaption>{title}</figcaption>\n<ul class=\"legend\">\n{legend}</ul>\n\
         <div class=\"wide\">\n{svg}</div>\n</figure>\n"
    ))
}

/// A line or box as the series is drawn.
fn key(shape: Shape, ink: usize) -> String {
    let paint = match shape {
        Shape::Area => format!(
            "<rect x=\"1\" y=\"2\" width=\"26\" height=\"10\" fill=\"var(--ink-{ink})\" opacity=\"0.5\"/>"
        ),
        Shape::Dots => format!("<circle cx=\"14\" cy=\"7\" r=\"4\" fill=\"var(--ink-{ink})\"/>"),
        Shape::Rings => {
            format!(
                "<circle cx=\"14\" cy=\"7\" r=\"4\" fill=\"none\" stroke=\"var(--ink-{ink})\" stroke-width=\"2\"/>"
            )
        }
        Shape::Line | Shape::Thick | Shape::Dashed => {
            let width = if shape == Shape::Thick { 3 } else { 2 };
            let dashes = if shape == Shape::Dashed { " stroke-dasharray=\"6 4\"" } else { "" };
            format!(
                "<line x1=\"0\" y1=\"7\" x2=\"28\" y2=\"7\" stroke=\"var(--ink-{ink})\" stroke-width=\"{width}\"{dashes}/>"
            )
        }
    };
    format!(
        "<svg class=\"key\" width=\"28\" height=\"14\" viewBox=\"0 0 28 14\" aria-hidden=\"true\">{paint}</svg>"
    )
}

/// The marks with their whole text; where they stand close a plot has their numbers alone.
fn moments(record: &Record) -> String {
    if record.marks.is_empty() {
        return String::new();
    }
    let mut list = "<section>\n<h2>Moments</h2>\n<ol class=\"moments\">\n".to_owned();
    for mark in &record.marks {
        let _ = writeln!(list, "<li><b>{:.2} s</b> {}</li>", mark.at_s, escape(&mark.text));
    }
    list + "</ol>\n</section>\n"
}

fn steps(steps: &[StepRow]) -> String {
    if steps.is_empty() {
        return String::new();
    }
    let knee = steps.iter().rposition(|step| step.fault.is_none());
    let mut table = "<section>\n<h2>Steps</h2>\n<div class=\"wide\">\n<table class=\"steps\">\n<thead><tr>\
        <th>intended/s</th><th>achieved/s</th><th>p50 ms</th><th>p99 ms</th><th>p99.9 ms</th><th>max ms</th>\
        <th>CPU µs per delivery</th><th>verdict</th></tr></thead>\n<tbody>\n"
        .to_owned();
    for (index, step) in steps.iter().enumerate() {
        let latency = &step.latency;
        let cells = [
            Some(step.intended.round()),
            Some(step.achieved.round()),
            Some(latency.p50_ms),
            Some(latency.p99_ms),
            Some(latency.p999_ms),
            Some(latency.max_ms),
            step.cpu_us,
        ];
        let cells =
            cells.map(|cell| format!("<td>{}</td>", cell.map_or_else(|| "\u{2013}".to_owned(), number)));
        let verdict = match &step.fault {
            None if knee == Some(index) => "good, the knee",
            None => "good",
            Some(fault) => fault,
        };
        let class = if step.fault.is_none() { "good" } else { "bad" };
        let _ = writeln!(table, "<tr>{}<td class=\"{class}\">{}</td></tr>", cells.concat(), escape(verdict));
    }
    let _ = writeln!(
        table,
        "</tbody>\n</table>\n</div>\n<p class=\"note\">The knee is the last good step. Slow: p99 reached its limit. \
         Behind: less than {} % of the intended deliveries came. Unclean: more than allowed was lost, doubled or \
         out of order, or a connection was closed.</p>\n</section>",
        number(ACHIEVED_MIN * 100.0)
    );
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Sample;

    #[test]
    fn a_load_that_was_late_is_told_beside_a_good_verdict() {
        let sample = |behind_ms| Sample { behind_ms, ..Sample::default() };
        let page = |behind_ms| {
            let samples = vec![sample(0.1), sample(behind_ms)];
            html(&Record { samples, ..Record::begin("fanout", "a test") }).unwrap()
        };
        assert!(page(270.0).contains("published up to 270 ms late"));
        assert!(!page(9.0).contains("class=\"warning\""));
    }
}
