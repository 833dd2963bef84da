//! Curves over time and bars beside each other, as SVG.

use std::fmt::Write as _;

const WIDTH: f64 = 460.0;
const HEIGHT: f64 = 170.0;
const LEFT: f64 = 52.0;
const BOTTOM: f64 = 22.0;
const TOP: f64 = 8.0;

/// Told apart by people who see few colours, too.
const COLOURS: [&str; 6] = ["#0b6e4f", "#c8553d", "#3d5a98", "#8a6d00", "#7a4f9a", "#555555"];

/// A colour for the run with this number.
pub(super) fn colour(number: usize) -> &'static str {
    COLOURS[number % COLOURS.len()]
}

/// A curve: its colour's number, and points of seconds and values.
pub(super) struct Curve {
    pub(super) number: usize,
    pub(super) points: Vec<(f64, f64)>,
}

/// Curves in one frame, from 0; empty if there is nothing to draw.
pub(super) fn curves(title: &str, unit: &str, curves: &[Curve]) -> String {
    let all = || curves.iter().flat_map(|curve| &curve.points);
    let (Some(last_s), Some(most)) = (greatest(all().map(|point| point.0)), greatest(all().map(|point| point.1)))
    else {
        return String::new();
    };
    let most = round_up(most);
    let x = |seconds: f64| LEFT + (WIDTH - LEFT - 8.0) * seconds / last_s.max(0.1);
    let y = |value: f64| HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * value / most;
    let mut out = format!(
        "<figure><figcaption>{title}, {unit}</figcaption><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{title}\">"
    );
    for part in 0..=2 {
        let value = most * f64::from(part) / 2.0;
        // Writing to a String cannot fail.
        let _ = write!(
            out,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{WIDTH}\" y1=\"{0:.1}\" y2=\"{0:.1}\"/><text x=\"{1}\" y=\"{2:.1}\" class=\"tick\">{3}</text>",
            y(value),
            LEFT - 6.0,
            y(value) + 4.0,
            number(value)
        );
    }
    let _ = write!(out, "<text x=\"{WIDTH}\" y=\"{}\" class=\"tick\">{:.0} s</text>", HEIGHT - 6.0, last_s);
    for curve in curves {
        let points: Vec<String> =
            curve.points.iter().map(|(s, value)| format!("{:.1},{:.1}", x(*s), y(*value))).collect();
        let _ = write!(out, "<polyline stroke=\"{}\" points=\"{}\"/>", colour(curve.number), points.join(" "));
    }
    out.push_str("</svg></figure>");
    out
}

/// A bar for each run, the figure at its end; empty if there is none.
pub(super) fn bars(title: &str, unit: &str, values: &[(usize, &str, f64)]) -> String {
    let Some(most) = greatest(values.iter().map(|value| value.2)).filter(|most| *most > 0.0) else {
        return String::new();
    };
    let row = 24.0;
    let height = row * values.len() as f64 + TOP;
    let (name_width, figure_width) = (150.0, 80.0);
    let mut out = format!(
        "<figure><figcaption>{title}, {unit}</figcaption><svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{title}\">"
    );
    for (place, (number_of, name, value)) in values.iter().enumerate() {
        let (top, width) = (TOP / 2.0 + row * place as f64, (WIDTH - name_width - figure_width) * value / most);
        let _ = write!(
            out,
            "<text x=\"{0}\" y=\"{1:.1}\" class=\"tick\">{2}</text><rect x=\"{3}\" y=\"{4:.1}\" width=\"{5:.1}\" height=\"16\" fill=\"{6}\"/><text x=\"{7:.1}\" y=\"{1:.1}\">{8}</text>",
            name_width - 8.0,
            top + 13.0,
            escaped(name),
            name_width,
            top,
            width.max(1.0),
            colour(*number_of),
            name_width + width + 6.0,
            number(*value)
        );
    }
    out.push_str("</svg></figure>");
    out
}

/// Text inside of HTML.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Three digits that matter.
pub(super) fn number(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{:.2} M", value / 1e6),
        value if value >= 1e4 => format!("{:.1} k", value / 1e3),
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

fn greatest(values: impl Iterator<Item = f64>) -> Option<f64> {
    values.filter(|value| value.is_finite()).reduce(f64::max)
}

/// The next of 1, 2, 5, 10 …
fn round_up(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let power = 10_f64.powf(value.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|step| step * power).find(|step| *step >= value).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_at_round_numbers() {
        let ends: Vec<f64> = [0.0, 0.3, 1.0, 1.1, 4.9, 5.1, 870.0].into_iter().map(round_up).collect();
        assert_eq!(ends, [1.0, 0.5, 1.0, 2.0, 5.0, 10.0, 1000.0]);
    }

    #[test]
    fn what_has_no_values_is_not_drawn() {
        assert_eq!(curves("a", "b", &[]), "");
        assert_eq!(curves("a", "b", &[Curve { number: 0, points: Vec::new() }]), "");
        assert_eq!(bars("a", "b", &[(0, "x", 0.0)]), "");
        let drawn = curves("a", "b", &[Curve { number: 0, points: vec![(0.5, 2.0), (1.0, 4.0)] }]);
        assert!(drawn.contains("<polyline") && !drawn.contains("NaN"), "{drawn}");
    }

    #[test]
    fn names_cannot_break_out() {
        assert!(bars("a", "b", &[(0, "<script>", 1.0)]).contains("&lt;script&gt;"));
    }
}
