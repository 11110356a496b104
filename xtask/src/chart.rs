//! A picture: lines over time. The same answers make the same picture.

use std::fmt;

/// One line.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Series {
    pub(crate) legend: String,
    /// Seconds since the beginning, and values.
    pub(crate) points: Vec<(f64, f64)>,
}

/// What is drawn.
pub(crate) struct Chart<'a> {
    pub(crate) title: &'a str,
    pub(crate) description: &'a str,
    /// As Grafana names units.
    pub(crate) unit: &'a str,
    /// Seconds from the left to the right.
    pub(crate) length: f64,
    /// Seconds between two points of a line; where there are more, it has a gap.
    pub(crate) step: f64,
    pub(crate) series: &'a [Series],
}

const WIDTH: f64 = 640.0;
/// The plot's place in it.
const LEFT: f64 = 64.0;
const RIGHT: f64 = 624.0;
const TOP: f64 = 52.0;
const BOTTOM: f64 = 232.0;
/// Where the legend begins, and how far its lines are apart.
const LEGEND: f64 = 284.0;
const LEGEND_LINE: f64 = 16.0;
/// More series are drawn, and counted in a last line.
const LEGENDS: usize = 16;

/// Lines of a grid, at most.
const GRID: f64 = 5.0;

/// Seconds.
const HOUR: f64 = 3600.0;

const COLORS: [&str; 10] = [
    "#1f77b4", "#d62728", "#2ca02c", "#ff7f0e", "#9467bd", "#8c564b", "#e377c2", "#17becf",
    "#bcbd22", "#7f7f7f",
];

impl Chart<'_> {
    fn x(&self, seconds: f64) -> f64 {
        LEFT + (RIGHT - LEFT) * (seconds / self.length.max(1.0)).clamp(0.0, 1.0)
    }

    /// The largest value; some height where all are 0.
    fn largest(&self) -> f64 {
        let points = self.series.iter().flat_map(|series| &series.points);
        let largest = points.map(|&(_, value)| value).fold(0.0, f64::max);
        if largest > 0.0 { largest } else { 1.0 }
    }

    fn axes(&self, f: &mut fmt::Formatter<'_>, top: f64) -> fmt::Result {
        let step = nice(top / GRID);
        for value in multiples(step, top) {
            let y = y(value, top);
            writeln!(
                f,
                r##"<path d="M{LEFT} {y:.1}H{RIGHT}" stroke="#ddd"/><text x="{:.1}" y="{:.1}" text-anchor="end">{}</text>"##,
                LEFT - 6.0,
                y + 4.0,
                self.written(value, step)
            )?;
        }
        let step = [10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 900.0, 1800.0, HOUR]
            .into_iter()
            .find(|step| self.length / step <= 2.0 * GRID)
            .unwrap_or(3.0 * HOUR);
        // The larger unit of the axis.
        let (unit, whole) = if step < 900.0 {
            ("minutes", 60.0)
        } else {
            ("hours", HOUR)
        };
        for seconds in multiples(step, self.length) {
            let x = self.x(seconds);
            writeln!(
                f,
                r##"<path d="M{x:.1} {TOP}V{BOTTOM}" stroke="#eee"/><text x="{x:.1}" y="{:.1}" text-anchor="middle">{:.0}:{:02.0}</text>"##,
                BOTTOM + 16.0,
                (seconds / whole).floor(),
                seconds % whole / (whole / 60.0)
            )?;
        }
        let (middle_x, middle_y) = (f64::midpoint(LEFT, RIGHT), f64::midpoint(TOP, BOTTOM));
        writeln!(
            f,
            r#"<text x="{middle_x}" y="{}" text-anchor="middle">{unit} since the daemon's start</text>"#,
            BOTTOM + 32.0
        )?;
        let unit = match self.unit {
            "reqps" => "a second",
            "percentunit" => "percent",
            "mbytes" => "MiB",
            _ => "value",
        };
        writeln!(
            f,
            r#"<text transform="translate(14 {middle_y}) rotate(-90)" text-anchor="middle">{unit}</text>"#
        )
    }

    /// A value at the axis, with the digits that tell it from the next.
    fn written(&self, value: f64, step: f64) -> String {
        let (value, step) = if self.unit == "percentunit" {
            (value * 100.0, step * 100.0)
        } else {
            (value, step)
        };
        let digits = (0..9).find(|&digits| step * 10f64.powi(digits) >= 1.0 - 1e-9);
        let digits = usize::try_from(digits.unwrap_or(9)).unwrap_or_default();
        format!("{value:.digits$}")
    }

    fn line(
        &self,
        f: &mut fmt::Formatter<'_>,
        series: &Series,
        color: &str,
        top: f64,
    ) -> fmt::Result {
        write!(
            f,
            r#"<path fill="none" stroke="{color}" stroke-width="1.5" stroke-linecap="round" d=""#
        )?;
        let mut before: Option<f64> = None;
        for &(seconds, value) in &series.points {
            let goes_on = before.is_some_and(|before| seconds - before < self.step * 1.5);
            let (x, y) = (self.x(seconds), y(value, top));
            if goes_on {
                write!(f, "L{x:.1} {y:.1}")?;
            } else {
                // So that a point alone is seen.
                write!(f, "M{x:.1} {y:.1}h0")?;
            }
            before = Some(seconds);
        }
        writeln!(f, r#""/>"#)
    }

    fn legends(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut at = LEGEND;
        for (series, color) in self.series.iter().zip(COLORS.iter().cycle()).take(LEGENDS) {
            writeln!(
                f,
                r#"<path d="M{LEFT} {:.1}h14" stroke="{color}" stroke-width="3"/><text x="{:.1}" y="{at:.1}">{}</text>"#,
                at - 4.0,
                LEFT + 20.0,
                escaped(&series.legend)
            )?;
            at += LEGEND_LINE;
        }
        match self.series.len() {
            0 => writeln!(f, r#"<text x="{LEFT}" y="{at:.1}">no data</text>"#),
            all if all > LEGENDS => writeln!(
                f,
                r#"<text x="{LEFT}" y="{at:.1}">and {} more</text>"#,
                all - LEGENDS
            ),
            _ => Ok(()),
        }
    }

    /// Lines below the plot.
    fn legend_lines(&self) -> f64 {
        let lines = self.series.len().clamp(1, LEGENDS + 1);
        #[expect(clippy::cast_precision_loss, reason = "a few")]
        let lines = lines as f64;
        lines
    }
}

impl fmt::Display for Chart<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let height = LEGEND + self.legend_lines() * LEGEND_LINE;
        let top = self.largest() * 1.05;
        begin(f, WIDTH, height)?;
        writeln!(
            f,
            r#"<text x="14" y="20" font-size="14" font-weight="bold">{}</text><text x="14" y="38">{}</text>"#,
            escaped(self.title),
            escaped(self.description)
        )?;
        self.axes(f, top)?;
        for (series, color) in self.series.iter().zip(COLORS.iter().cycle()) {
            self.line(f, series, color, top)?;
        }
        self.legends(f)?;
        writeln!(f, "</svg>")
    }
}

/// The beginning of a picture of that size, which is white.
pub(crate) fn begin<N: fmt::Display>(
    f: &mut fmt::Formatter<'_>,
    width: N,
    height: N,
) -> fmt::Result {
    writeln!(
        f,
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="11" fill="#333">"##
    )?;
    writeln!(
        f,
        r##"<rect width="{width}" height="{height}" fill="#fff"/>"##
    )
}

fn y(value: f64, top: f64) -> f64 {
    BOTTOM - (BOTTOM - TOP) * (value / top).clamp(0.0, 1.0)
}

/// The next larger of 1, 2 and 5, times a power of ten.
fn nice(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    let found = [1.0, 2.0, 5.0]
        .into_iter()
        .find(|digit| digit * power >= step);
    found.unwrap_or(10.0) * power
}

/// 0, one step, two, as far as that.
fn multiples(step: f64, end: f64) -> impl Iterator<Item = f64> {
    (0..100u32)
        .map(move |times| step * f64::from(times))
        .take_while(move |&value| value <= end)
}

pub(crate) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::{Chart, Series, nice};

    fn chart(series: &[Series]) -> Chart<'_> {
        Chart {
            title: "SYNs & <more>",
            description: "",
            unit: "percentunit",
            length: 60.0,
            step: 2.0,
            series,
        }
    }

    fn series(points: &[(f64, f64)]) -> Series {
        Series {
            legend: "a".to_owned(),
            points: points.to_vec(),
        }
    }

    #[test]
    fn a_gap_is_drawn_as_one() {
        let series = [series(&[(0.0, 0.0), (2.0, 0.5), (30.0, 1.0)])];
        let drawn = chart(&series).to_string();
        assert!(
            drawn.contains("M64.0 232.0h0L82.7 146.3M344.0 60.6h0"),
            "{drawn}"
        );
        assert!(drawn.contains("SYNs &amp; &lt;more&gt;"));
        // The axis is in percent.
        assert!(drawn.contains(">100<"), "{drawn}");
    }

    #[test]
    fn a_day_is_told_in_hours() {
        let day = Chart {
            length: 86_400.0,
            ..chart(&[])
        };
        let drawn = day.to_string();
        let has = |text: &str| drawn.contains(text);
        assert!(
            has(">21:00<") && has(">hours since") && !has(">20:00<"),
            "{drawn}"
        );
        assert!(chart(&[]).to_string().contains(">0:30<"));
    }

    #[test]
    fn nothing_is_said_to_be_nothing() {
        let drawn = chart(&[]).to_string();
        assert!(drawn.contains("no data"), "{drawn}");
        // A line on which all is 0 lies at the bottom.
        let flat = [series(&[(0.0, 0.0)])];
        assert!(chart(&flat).to_string().contains("M64.0 232.0h0"));
    }

    #[test]
    fn many_series_are_counted() {
        let many = vec![series(&[(0.0, 1.0)]); 19];
        assert!(chart(&many).to_string().contains("and 3 more"));
    }

    #[test]
    fn steps_are_round() {
        for (step, round) in [
            (0.7, 1.0),
            (1.0, 1.0),
            (3.0, 5.0),
            (0.012, 0.02),
            (60.0, 100.0),
        ] {
            assert!((nice(step) - round).abs() < 1e-9, "{step}");
        }
    }
}
