//! Draws one chart as SVG text.
//!
//! **Invariant:** no colour is fixed. Inks are drawn in placeholder colours, which become CSS variables of
//! the page, so that the same plot is readable on a dark screen and on paper. No coordinate is anything but
//! a finite number.

use anyhow::{Result, anyhow};
use plotters::{
    coord::Shift,
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

use super::axis::Axis;

/// A plot that isn't drawn yet.
#[derive(Debug, Clone)]
pub(super) struct Chart {
    /// What it shows.
    pub(super) title: &'static str,
    /// Under the horizontal axis.
    pub(super) x: Axis,
    /// Beside the vertical axis.
    pub(super) y: Axis,
    pub(super) series: Vec<Series>,
    pub(super) marks: Vec<MarkLine>,
}

/// A vertical line.
#[derive(Debug, Clone)]
pub(super) struct MarkLine {
    pub(super) at: f64,
    /// What is written above it: the first of these for which there is room until the next line.
    pub(super) labels: Vec<String>,
}

/// One line, area or cloud of a chart.
#[derive(Debug, Clone)]
pub(super) struct Series {
    pub(super) name: String,
    pub(super) ink: usize,
    pub(super) shape: Shape,
    /// None where nothing was measured: the line is interrupted.
    pub(super) points: Vec<Option<Point>>,
}

/// How a series is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Line,
    Thick,
    Dashed,
    /// From `low` to `y`.
    Area,
    Dots,
    Rings,
}

/// A place in a chart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Point {
    pub(super) x: f64,
    pub(super) y: f64,
    /// Where an area begins; nothing to other shapes.
    pub(super) low: f64,
}

/// Inks there are; what is drawn in them is `--ink-0` and so on in the page's style.
pub(super) const INKS: usize = 6;

/// Twice what the page shows: plotters rounds to whole units, which would be seen.
const SIZE: (u32, u32) = (1440, 560);
const TEXT_SIZE: u32 = 27;
const MARK_SIZE: u32 = TEXT_SIZE - 4;
/// A letter's average width, to find out whether a mark's text fits.
const LETTER_WIDTH: f64 = 0.52 * MARK_SIZE as f64;

const TEXT: RGBColor = RGBColor(1, 1, 1);
const GRID: RGBColor = RGBColor(2, 2, 2);
const MARK: RGBColor = RGBColor(3, 3, 3);

type Context<'a> = ChartContext<'a, SVGBackend<'a>, Cartesian2d<Axis, Axis>>;
type Drawn<'a> = Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>>;

impl Series {
    /// Whether there is anything to see.
    pub(super) fn is_empty(&self) -> bool {
        self.points.iter().all(Option::is_none)
    }

    /// The parts between the gaps.
    fn runs(&self) -> impl Iterator<Item = Vec<Point>> + '_ {
        self.points
            .split(Option::is_none)
            .map(|run| run.iter().flatten().copied().collect::<Vec<_>>())
            .filter(|run| !run.is_empty())
    }

    /// One uninterrupted part. A part of one point has no line, so it is a dot.
    fn draw_run<'a>(&self, chart: &mut Context<'a>, run: &[Point]) -> Drawn<'a> {
        let ink = ink(self.ink);
        let line = run.iter().map(|point| (point.x, point.y));
        let dots = |size: u32, style: ShapeStyle| line.clone().map(move |at| Circle::new(at, size, style));
        match self.shape {
            Shape::Dots => {
                chart.draw_series(dots(8, ink.filled()))?;
            }
            Shape::Rings => {
                chart.draw_series(dots(8, ink.stroke_width(3)))?;
            }
            _ if run.len() == 1 => {
                chart.draw_series(dots(4, ink.filled()))?;
            }
            Shape::Line => {
                chart.draw_series(LineSeries::new(line, ink.stroke_width(3)))?;
            }
            Shape::Thick => {
                chart.draw_series(LineSeries::new(line, ink.stroke_width(5)))?;
            }
            Shape::Dashed => {
                chart.draw_series(DashedLineSeries::new(line, 12, 8, ink.stroke_width(3)))?;
            }
            Shape::Area => {
                let floor = run.iter().rev().map(|point| (point.x, point.low));
                let outline: Vec<_> = line.clone().chain(floor).collect();
                chart.draw_series([Polygon::new(outline, ink.mix(0.5))])?;
                // An area without height would be nothing to see, and not the same as nothing measured.
                chart.draw_series(LineSeries::new(line, ink.stroke_width(2)))?;
            }
        }
        Ok(())
    }
}

impl Chart {
    /// Whether there is anything to see.
    pub(super) fn is_empty(&self) -> bool {
        self.series.iter().all(Series::is_empty)
    }

    /// The chart as an `<svg>` element.
    pub(super) fn draw(&self) -> Result<String> {
        let mut text = String::new();
        {
            let root = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
            self.draw_on(&root).map_err(|error| anyhow!("{}: {error}", self.title))?;
            root.present().map_err(|error| anyhow!("{}: {error}", self.title))?;
        }
        Ok(self.colour(&text))
    }

    fn draw_on<'a>(&self, root: &DrawingArea<SVGBackend<'a>, Shift>) -> Drawn<'a> {
        let mut chart = ChartBuilder::on(root)
            .margin_top(34)
            .margin_right(24)
            .x_label_area_size(84)
            .y_label_area_size(136)
            .build_cartesian_2d(self.x.clone(), self.y.clone())?;
        let font = ("sans-serif", TEXT_SIZE).into_font().color(&TEXT);
        chart
            .configure_mesh()
            .bold_line_style(GRID.stroke_width(2))
            .light_line_style(TRANSPARENT)
            .axis_style(TEXT.stroke_width(2))
            .label_style(font.clone())
            .axis_desc_style(font)
            .x_desc(&*self.x.name)
            .y_desc(&*self.y.name)
            .draw()?;
        for series in &self.series {
            series.runs().try_for_each(|run| series.draw_run(&mut chart, &run))?;
        }
        self.draw_marks(&mut chart)
    }

    /// A line for each mark, and what it is above it.
    fn draw_marks<'a>(&self, chart: &mut Context<'a>) -> Drawn<'a> {
        let (bottom, top, end) = (self.y.bottom(), self.y.top(), self.x.top());
        let plot = chart.plotting_area().dim_in_pixel().0;
        let per_unit = f64::from(plot) / (end - self.x.bottom());
        let font = ("sans-serif", MARK_SIZE).into_font();
        let style = font.color(&MARK).pos(Pos::new(HPos::Left, VPos::Bottom));
        for (index, MarkLine { at, labels }) in self.marks.iter().enumerate() {
            let line = vec![(*at, bottom), (*at, top)];
            chart.draw_series([PathElement::new(line, MARK.stroke_width(2))])?;
            let next = self.marks.get(index + 1).map_or(end, |next| next.at);
            let room = (next - at) * per_unit;
            if let Some(label) =
                labels.iter().find(|label| label.chars().count() as f64 * LETTER_WIDTH < room)
            {
                chart.draw_series([Text::new(label.clone(), (*at, top), style.clone())])?;
            }
        }
        Ok(())
    }

    /// Turns placeholders into the page's colours, and tells those who can't see it what it is.
    fn colour(&self, svg: &str) -> String {
        let mut svg = svg.replace("\"#010101\"", "\"currentColor\"");
        svg = svg.replace("\"#020202\"", "\"var(--grid)\"").replace("\"#030303\"", "\"var(--mark)\"");
        for index in 0..INKS {
            svg = svg.replace(&format!("\"#0400{index:02}\""), &format!("\"var(--ink-{index})\""));
        }
        let label =
            format!("<svg class=\"plot\" role=\"img\" aria-label=\"{}\" ", super::html::escape(self.title));
        svg.replacen("<svg ", &label, 1)
    }
}

fn ink(index: usize) -> RGBColor {
    RGBColor(4, 0, (index % INKS) as u8)
}
