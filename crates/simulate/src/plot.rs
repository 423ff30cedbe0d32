//! Small line charts as inline SVG: no script, no font, nothing fetched.

use std::fmt::Write as _;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 56.0;
const BOTTOM: f64 = 28.0;
const TOP: f64 = 8.0;
/// Colours that stay apart for people who see colours differently (Okabe and Ito).
const COLOURS: [&str; 7] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"];
/// Lines across the chart, the axis included.
const GRID: u32 = 4;

/// One line of a chart.
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

/// A chart of some lines, with what its axes count.
pub(crate) fn chart(title: &str, across: &str, up: &str, lines: &[Line]) -> String {
    let most = |pick: fn(&(f64, f64)) -> f64| {
        let all = lines.iter().flat_map(|line| line.points.iter().map(pick));
        all.fold(0.0, f64::max).max(1e-9)
    };
    let (right, high) = (most(|point| point.0), most(|point| point.1));
    let x = |value: f64| LEFT + value / right * (WIDTH - LEFT);
    let y = |value: f64| HEIGHT - BOTTOM - value / high * (HEIGHT - BOTTOM - TOP);
    let mut out =
        format!("<figure><figcaption>{}: {} over {}</figcaption>\n", escape(title), escape(up), escape(across));
    let _ = writeln!(out, "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">", escape(title));
    for step in 0..=GRID {
        let share = f64::from(step) / f64::from(GRID);
        let (gx, gy) = (x(right * share), y(high * share));
        let _ = writeln!(out, "<line x1=\"{LEFT}\" x2=\"{WIDTH}\" y1=\"{gy:.1}\" y2=\"{gy:.1}\" class=\"grid\"/>");
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 4.0,
            gy + 4.0,
            number(high * share)
        );
        let anchor = if step == GRID { "end" } else { "middle" };
        let _ = writeln!(
            out,
            "<text x=\"{gx:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{}</text>",
            HEIGHT - 8.0,
            number(right * share)
        );
    }
    for (place, line) in lines.iter().enumerate() {
        let points: Vec<String> = line.points.iter().map(|(px, py)| format!("{:.1},{:.1}", x(*px), y(*py))).collect();
        let _ =
            writeln!(out, "<polyline points=\"{}\" stroke=\"{}\"/>", points.join(" "), COLOURS[place % COLOURS.len()]);
    }
    out.push_str("</svg>\n<p>");
    for (place, line) in lines.iter().enumerate() {
        let _ = write!(
            out,
            "<span style=\"color:{}\">&#9632;</span> {} ",
            COLOURS[place % COLOURS.len()],
            escape(&line.name)
        );
    }
    out.push_str("</p></figure>\n");
    out
}

/// Text that may stand anywhere in a page.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn number(value: f64) -> String {
    if value >= 100.0 || value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_stays_inside_its_frame_and_escapes_names() {
        let line = Line { name: "<a&b>".to_owned(), points: vec![(0.0, 0.0), (5.0, 2.0)] };
        let svg = chart("flow", "s", "share", &[line]);
        assert!(svg.contains("points=\"56.0,232.0 640.0,8.0\""), "{svg}");
        assert!(svg.contains("&lt;a&amp;b&gt;") && !svg.contains("<a&b>"));
        assert!(!chart("empty", "s", "n", &[]).contains("NaN"));
    }
}
