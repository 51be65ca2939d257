//! Charts as SVG, readable on a light and on a dark page.

use std::fmt::Write as _;

use crate::report::shown;

const WIDTH: f64 = 760.0;
/// Where the bars begin, and where the longest one ends.
const LEFT: f64 = 190.0;
const RIGHT: f64 = 690.0;

/// The text is the page's ink; the colours of the runtimes are read on white and on black.
const STYLE: &str = "
<style>
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.title { font-size: 16px; font-weight: 600 }
.small { font-size: 11px }
.axis { stroke: #d1d9e0; stroke-width: 1 }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .axis { stroke: #3d444d } }
</style>";

/// The colour of each runtime; one that is not known is grey.
fn colour(name: &str) -> &'static str {
    match name {
        "minicon" => "#d1242f",
        "crun" => "#2f81f7",
        "crun-new" => "#54aeff",
        "runc" => "#bf8700",
        "youki" => "#8250df",
        "floor" => "#6e7781",
        _ => "#8c959f",
    }
}

/// A group of bars: its title, and a value for each runtime in order.
pub struct Group {
    pub title: String,
    pub bars: Vec<(String, f64)>,
}

/// Horizontal bars in groups, on one linear axis. A label is what the legend calls a runtime.
pub fn bars(title: &str, unit: &str, groups: &[Group], label: impl Fn(&str) -> String) -> String {
    let highest = groups.iter().flat_map(|group| &group.bars).map(|(_, value)| *value).fold(0.0, f64::max);
    let axis = Axis::linear(highest);
    let mut body = String::new();
    let mut y = 84.0;
    let top = y - 8.0;
    for group in groups {
        let middle = y + 8.0 * group.bars.len() as f64 + 1.0;
        let _ = writeln!(
            body,
            "<text x=\"{}\" y=\"{middle}\" text-anchor=\"end\">{}</text>",
            LEFT - 12.0,
            escaped(&group.title)
        );
        for (name, value) in &group.bars {
            let length = axis.place(*value) - LEFT;
            let fill = colour(name);
            let _ = writeln!(
                body,
                "<rect x=\"{LEFT}\" y=\"{y}\" width=\"{length:.1}\" height=\"13\" rx=\"2\" fill=\"{fill}\"><title>{} {} {unit}</title></rect>\
                 <text class=\"small\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                escaped(name),
                shown(*value),
                LEFT + length + 5.0,
                y + 10.5,
                shown(*value),
            );
            y += 16.0;
        }
        y += 14.0;
    }
    let mut grid = String::new();
    for tick in axis.ticks() {
        let x = axis.place(tick);
        let _ = writeln!(
            grid,
            "<line class=\"axis\" x1=\"{x:.1}\" y1=\"{top}\" x2=\"{x:.1}\" y2=\"{y}\"/>\
             <text class=\"small\" x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            y + 16.0,
            shown(tick),
        );
    }
    let _ = writeln!(
        grid,
        "<text class=\"small\" x=\"{WIDTH}\" dx=\"-12\" y=\"{}\" text-anchor=\"end\">{unit}</text>",
        y + 16.0
    );
    document(title, y + 30.0, &legend(groups, label), &(grid + &body))
}

fn document(title: &str, height: f64, legend: &str, body: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         role=\"img\" aria-label=\"{title}\">{STYLE}\n<text class=\"title\" x=\"12\" y=\"26\">{title}</text>\n{legend}{body}</svg>\n",
        title = escaped(title),
    )
}

fn legend(groups: &[Group], label: impl Fn(&str) -> String) -> String {
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in groups.iter().flat_map(|group| &group.bars) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    let mut text = String::new();
    let mut x = 12.0;
    for name in names {
        let label = label(name);
        let _ = writeln!(
            text,
            "<rect x=\"{x}\" y=\"42\" width=\"12\" height=\"12\" rx=\"2\" fill=\"{}\"/><text x=\"{}\" y=\"53\">{}</text>",
            colour(name),
            x + 18.0,
            escaped(&label),
        );
        // What a letter takes at most, in the middle of many.
        x += 34.0 + 7.2 * label.chars().count() as f64;
    }
    text
}

/// From zero to a round number that is not below the highest value.
struct Axis {
    step: f64,
    end: f64,
}

impl Axis {
    fn linear(highest: f64) -> Axis {
        let rough = (highest / 5.0).max(f64::MIN_POSITIVE);
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power).into_iter().find(|step| *step >= rough);
        let step = step.unwrap_or(10.0 * power);
        Axis { step, end: (highest / step).ceil().max(1.0) * step }
    }

    fn place(&self, value: f64) -> f64 {
        LEFT + value / self.end * (RIGHT - LEFT)
    }

    fn ticks(&self) -> Vec<f64> {
        let count = (self.end / self.step).round() as usize;
        (0..=count).map(|index| index as f64 * self.step).collect()
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::{Axis, Group, bars};

    #[test]
    fn an_axis_ends_at_a_round_number() {
        let axis = Axis::linear(87.0);
        assert_eq!((axis.step, axis.end), (20.0, 100.0));
        assert_eq!(axis.ticks(), [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
    }

    #[test]
    fn a_chart_has_its_unit_and_a_bar_for_each_value() {
        let bars = bars(
            "a < b",
            "ms",
            &[Group { title: "run".to_owned(), bars: vec![("crun".to_owned(), 3.0)] }],
            str::to_owned,
        );
        assert!(bars.contains("a &lt; b") && bars.contains(">ms</text>"));
        assert_eq!(bars.matches("<rect").count(), 2, "the bar and its place in the legend");
    }
}
