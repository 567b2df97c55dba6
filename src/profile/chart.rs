//! Memory over time as a picture: for a terminal, as SVG, and as a page.

use std::fmt::Write;

use super::Profile;

/// Heights of the eight block characters.
const BLOCKS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const SVG_WIDTH: f64 = 800.0;
const SVG_HEIGHT: f64 = 300.0;
/// Room for the axes' words.
const LEFT: f64 = 70.0;
const BOTTOM: f64 = 30.0;
const TOP: f64 = 24.0;

fn gib(bytes: f64) -> String {
    if bytes >= f64::from(1 << 30) {
        format!("{:.2} GiB", bytes / f64::from(1 << 30))
    } else {
        format!("{:.1} MiB", bytes / f64::from(1 << 20))
    }
}

/// The highest value in each of `columns` equal spans of time; a span without a reading has the one before.
fn columns(profile: &Profile, columns: usize) -> Vec<u64> {
    let mut out: Vec<Option<u64>> = vec![None; columns.max(1)];
    let last = out.len() - 1;
    for moment in &profile.samples {
        let at = (moment.seconds / profile.seconds.max(1e-9) * columns as f64) as usize;
        let place = &mut out[at.min(last)];
        *place = (*place).max(Some(moment.bytes));
    }
    let mut before = profile.samples.first().map_or(0, |moment| moment.bytes);
    out.into_iter()
        .map(|bytes| {
            before = bytes.unwrap_or(before);
            before
        })
        .collect()
}

/// A chart of `width` columns and `height` lines, with its scale.
#[must_use]
pub fn terminal(profile: &Profile, width: usize, height: usize) -> String {
    let values = columns(profile, width);
    let top = values.iter().copied().max().unwrap_or(0).max(1) as f64;
    let mut out = String::new();
    for line in (0..height).rev() {
        let scale = if line + 1 == height {
            gib(top)
        } else {
            String::new()
        };
        let _ = write!(out, "{scale:>11} │");
        for value in &values {
            let eighths = *value as f64 / top * (height * 8) as f64 - (line * 8) as f64;
            out.push(BLOCKS[(eighths.round().clamp(0.0, 8.0)) as usize]);
        }
        out.push('\n');
    }
    let end = format!("{:.1} s", profile.seconds);
    let _ = writeln!(out, "{:>11} └{}", 0, "─".repeat(width));
    let _ = writeln!(out, "{:>13}{end:>width$}", "");
    out
}

/// The chart as an SVG document: the samples as they are, the peak marked.
#[must_use]
pub fn svg(profile: &Profile) -> String {
    let planned = profile.plan.as_ref().map(|plan| {
        let own = plan.before_bytes.unwrap_or(0);
        (plan.expected.peak_bytes + own) as f64
    });
    let top = (profile.peak.bytes.max(1) as f64).max(planned.unwrap_or(0.0)) * 1.05;
    let x = |seconds: f64| LEFT + seconds / profile.seconds.max(1e-9) * (SVG_WIDTH - LEFT - 10.0);
    let y = |bytes: f64| SVG_HEIGHT - BOTTOM - bytes / top * (SVG_HEIGHT - BOTTOM - TOP);
    let mut points = String::new();
    for moment in &profile.samples {
        let _ = write!(
            points,
            "{:.1},{:.1} ",
            x(moment.seconds),
            y(moment.bytes as f64)
        );
    }
    let base = y(0.0);
    let (peak_x, peak_y) = (x(profile.peak.seconds), y(profile.peak.bytes as f64));
    let (above, below, right) = (TOP - 10.0, SVG_HEIGHT - 10.0, SVG_WIDTH - 10.0);
    let label_x = peak_x.clamp(LEFT + 80.0, SVG_WIDTH - 90.0);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {SVG_WIDTH} {SVG_HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"12\" role=\"img\">\n<title>Memory of {} over time</title>\n",
        escape(&profile.subject)
    );
    for step in 0..=4 {
        let bytes = profile.peak.bytes as f64 * f64::from(step) / 4.0;
        let _ = writeln!(
            out,
            "<line x1=\"{LEFT}\" x2=\"{SVG_WIDTH}\" y1=\"{0:.1}\" y2=\"{0:.1}\" stroke=\"#ddd\"/>\
             <text x=\"{1}\" y=\"{2:.1}\" text-anchor=\"end\">{3}</text>",
            y(bytes),
            LEFT - 6.0,
            y(bytes) + 4.0,
            gib(bytes)
        );
    }
    if let Some(planned) = planned {
        let _ = writeln!(
            out,
            "<line x1=\"{LEFT}\" x2=\"{SVG_WIDTH}\" y1=\"{0:.1}\" y2=\"{0:.1}\" stroke=\"#228833\" \
             stroke-dasharray=\"6 4\"/><text x=\"{right}\" y=\"{1:.1}\" text-anchor=\"end\" \
             fill=\"#228833\">planned peak {2}</text>",
            y(planned),
            y(planned) + 14.0,
            gib(planned)
        );
    }
    let _ = write!(
        out,
        "<polygon points=\"{LEFT},{base:.1} {points}{:.1},{base:.1}\" fill=\"#4477aa\" fill-opacity=\"0.25\"/>\n\
         <polyline points=\"{points}\" fill=\"none\" stroke=\"#4477aa\" stroke-width=\"1.5\"/>\n\
         <circle cx=\"{peak_x:.1}\" cy=\"{peak_y:.1}\" r=\"3.5\" fill=\"#cc3311\"/>\n\
         <text x=\"{label_x:.1}\" y=\"{above:.1}\" text-anchor=\"middle\">peak {} at {:.1} s</text>\n\
         <text x=\"{LEFT}\" y=\"{below}\">0 s</text>\n<text x=\"{right}\" y=\"{below}\" text-anchor=\"end\">{:.1} s</text>\n</svg>\n",
        x(profile.seconds),
        gib(profile.peak.bytes as f64),
        profile.peak.seconds,
        profile.seconds,
    );
    out
}

/// A page with the chart and the figures, without outside resources.
#[must_use]
pub fn html(profile: &Profile) -> String {
    let kernel = profile.kernel_peak_bytes.map_or_else(String::new, |bytes| {
        format!("<dt>kernel's own peak</dt><dd>{}</dd>", gib(bytes as f64))
    });
    let plan = profile.plan.as_ref().map_or_else(String::new, |plan| {
        format!(
            "<h2>Beside its plan</h2><pre>{}</pre>",
            escape(&plan.text())
        )
    });
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Memory of {0}</title>\n\
         <style>body{{font-family:sans-serif;max-width:52em;margin:2em auto}}dt{{float:left;width:12em}}</style></head>\n\
         <body><h1>Memory of {0}</h1>\n{1}\n<dl><dt>peak</dt><dd>{2} at {3:.1} s</dd>{kernel}\
         <dt>swapped out</dt><dd>{4} pages</dd><dt>processes</dt><dd>{5}</dd></dl>{plan}</body></html>\n",
        escape(&profile.subject),
        svg(profile),
        gib(profile.peak.bytes as f64),
        profile.peak.seconds,
        profile.swapouts,
        profile.processes_max,
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::super::{Followed, Moment};
    use super::*;

    fn profile() -> Profile {
        let samples = [(0.0, 1), (1.0, 4), (2.0, 2)]
            .map(|(seconds, gib)| Moment {
                seconds,
                bytes: gib << 30,
            })
            .to_vec();
        Profile::of(
            "a <b>".to_owned(),
            Followed {
                samples,
                ..Followed::default()
            },
            None,
        )
    }

    #[test]
    fn the_terminal_chart_rises_and_falls() {
        assert_eq!(
            terminal(&profile(), 4, 2),
            "   4.00 GiB │  █ \n            │▄▄██\n          0 └────\n             2.0 s\n"
        );
    }

    #[test]
    fn the_page_is_whole_and_what_was_typed_is_escaped() {
        let page = html(&profile());
        assert!(page.contains("<h1>Memory of a &lt;b&gt;</h1>"), "{page}");
        assert!(page.contains("peak 4.00 GiB at 1.0 s"), "{page}");
        assert!(
            !page.contains("http://") || page.matches("http://").count() == 1,
            "only SVG's own name space"
        );
    }

    #[test]
    fn nothing_seen_is_no_division_by_zero() {
        let nothing = Profile::of(String::new(), Followed::default(), None);
        assert!(svg(&nothing).ends_with("</svg>\n") && terminal(&nothing, 3, 1).contains('└'));
    }
}
