//! The report's three charts, as coordinates for the template. Widths are in the chart's own units, one of which is
//! about a pixel.

use crate::plan::Request;
use crate::timeline::{Phase, Step};
use crate::units::{GIB, gib, grouped};

/// Width of every chart.
const WIDTH: f64 = 900.0;
/// Left edge of a plot, beside its scale.
const LEFT: f64 = 46.0;
/// Right edge of a plot.
const RIGHT: f64 = 890.0;

/// A coordinate, short.
fn at(value: f64) -> String {
    format!("{value:.1}")
}

pub(super) struct Rect {
    pub(super) class: &'static str,
    pub(super) x: String,
    pub(super) y: String,
    pub(super) width: String,
    pub(super) height: String,
    pub(super) title: String,
}

pub(super) struct Mark {
    pub(super) x: String,
    pub(super) y: String,
    pub(super) text_x: String,
    pub(super) text_y: String,
    pub(super) anchor: &'static str,
    pub(super) text: String,
}

pub(super) struct Text {
    pub(super) x: String,
    pub(super) y: String,
    pub(super) anchor: &'static str,
    pub(super) text: String,
}

pub(super) struct Bar {
    pub(super) width: String,
    pub(super) height: String,
    pub(super) label: String,
    pub(super) parts: Vec<Rect>,
    pub(super) marks: Vec<Mark>,
}

/// A bar of `parts` (class, bytes) from the left, against ceilings (name, bytes).
pub(super) fn bar(parts: &[(&'static str, u64)], ceilings: &[(String, u64)], label: String) -> Bar {
    let used: u64 = parts.iter().map(|p| p.1).fold(0, u64::saturating_add);
    let widest = ceilings
        .iter()
        .map(|c| c.1)
        .max()
        .unwrap_or(0)
        .max(used)
        .max(1);
    let x = |bytes: u64| bytes as f64 / widest as f64 * WIDTH;
    let mut rects = vec![rect("free", 0.0, 14.0, WIDTH, 34.0, String::new())];
    let mut from = 0;
    for &(class, bytes) in parts {
        rects.push(rect(class, x(from), 14.0, x(bytes), 34.0, String::new()));
        from += bytes;
    }
    let marks = ceilings.iter().enumerate().map(|(i, (name, bytes))| {
        let here = x(*bytes).clamp(1.0, WIDTH - 1.0);
        let anchor = if here > WIDTH / 2.0 { "end" } else { "start" };
        let line = 68.0 + 16.0 * i as f64;
        Mark {
            x: at(here),
            y: at(line),
            text_x: at(here),
            text_y: at(line),
            anchor,
            text: format!("{name} {} GiB", gib(*bytes)),
        }
    });
    Bar {
        width: at(WIDTH),
        height: at(64.0 + 16.0 * ceilings.len() as f64),
        label,
        parts: rects,
        marks: marks.collect(),
    }
}

fn rect(class: &'static str, x: f64, y: f64, width: f64, height: f64, title: String) -> Rect {
    Rect {
        class,
        x: at(x),
        y: at(y),
        width: at(width.max(0.0)),
        height: at(height.max(0.0)),
        title,
    }
}

pub(super) struct Plot {
    pub(super) width: String,
    pub(super) height: String,
    pub(super) left: String,
    pub(super) right: String,
    pub(super) label: String,
    pub(super) ticks: Vec<Mark>,
    pub(super) parts: Vec<Rect>,
    pub(super) texts: Vec<Text>,
    pub(super) marks: Vec<Mark>,
    pub(super) line: String,
    pub(super) band: String,
}

/// Scale from 0 at the bottom to a round number of GiB above `most`.
struct Scale {
    top_bytes: f64,
    step_bytes: f64,
}

const PLOT_TOP: f64 = 16.0;
const PLOT_BOTTOM: f64 = 240.0;
const PLOT_HEIGHT: f64 = 272.0;

impl Scale {
    fn over(most: u64) -> Self {
        let rough = (most as f64 * 1.08 / GIB as f64 / 5.0).max(0.01);
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0]
            .into_iter()
            .map(|m| m * power)
            .find(|s| *s >= rough)
            .unwrap_or(10.0 * power);
        let top = (most as f64 * 1.08 / GIB as f64 / step).ceil() * step;
        Self {
            top_bytes: top * GIB as f64,
            step_bytes: step * GIB as f64,
        }
    }

    fn y(&self, bytes: f64) -> f64 {
        PLOT_BOTTOM - bytes / self.top_bytes * (PLOT_BOTTOM - PLOT_TOP)
    }

    fn ticks(&self) -> Vec<Mark> {
        let count = (self.top_bytes / self.step_bytes).round() as usize;
        let digits = usize::from(self.step_bytes < GIB as f64) * 2;
        (0..=count)
            .map(|i| {
                let bytes = i as f64 * self.step_bytes;
                let y = self.y(bytes);
                let text = format!("{:.digits$}", bytes / GIB as f64);
                Mark {
                    x: at(LEFT),
                    y: at(y),
                    text_x: at(LEFT - 6.0),
                    text_y: at(y + 4.0),
                    anchor: "end",
                    text,
                }
            })
            .collect()
    }

    fn limit(&self, bytes: u64, name: &str) -> Mark {
        let y = self.y(bytes as f64);
        Mark {
            x: at(LEFT),
            y: at(y),
            text_x: at(RIGHT),
            text_y: at(y - 5.0),
            anchor: "end",
            text: format!("{name} {} GiB", gib(bytes)),
        }
    }
}

fn plot(scale: &Scale, label: String, ceiling: &(String, u64)) -> Plot {
    let shown = (ceiling.1 as f64) <= scale.top_bytes;
    Plot {
        width: at(WIDTH),
        height: at(PLOT_HEIGHT),
        left: at(LEFT),
        right: at(RIGHT),
        label,
        ticks: scale.ticks(),
        parts: Vec::new(),
        texts: Vec::new(),
        marks: if shown {
            vec![scale.limit(ceiling.1, &ceiling.0)]
        } else {
            Vec::new()
        },
        line: String::new(),
        band: String::new(),
    }
}

fn phase_words(phase: Phase) -> String {
    match phase {
        Phase::Load => "loading".to_owned(),
        Phase::Prefill { tokens } => format!("prefill, {} tokens in", grouped(tokens)),
        Phase::FirstToken => "first token".to_owned(),
        Phase::Decode => "decoding".to_owned(),
    }
}

/// A column a phase; weights below, what comes on top above.
pub(super) fn timeline(steps: &[Step], weights_bytes: u64, ceiling: &(String, u64)) -> Plot {
    let most = steps.iter().map(|s| s.bytes).max().unwrap_or(0);
    let scale = Scale::over(if ceiling.1 < most.saturating_mul(3) {
        most.max(ceiling.1)
    } else {
        most
    });
    let label = format!("Memory by phase, at most {} GiB.", gib(most));
    let mut chart = plot(&scale, label, ceiling);
    let pitch = (RIGHT - LEFT) / steps.len().max(1) as f64;
    let gap = (pitch * 0.15).min(6.0);
    for (i, step) in steps.iter().enumerate() {
        let x = LEFT + pitch * i as f64 + gap / 2.0;
        let title = format!("{}: {} GiB", phase_words(step.phase), gib(step.bytes));
        let (bottom, middle, top) = (
            scale.y(0.0),
            scale.y(weights_bytes.min(step.bytes) as f64),
            scale.y(step.bytes as f64),
        );
        chart.parts.push(rect(
            "weights",
            x,
            middle,
            pitch - gap,
            bottom - middle,
            title.clone(),
        ));
        chart
            .parts
            .push(rect("work", x, top, pitch - gap, middle - top, title));
    }
    let words: Vec<(usize, String)> = steps
        .iter()
        .map(|s| phase_words(s.phase))
        .enumerate()
        .collect();
    // With many chunks only the first, the last and the ends have room for a name.
    let named: Vec<&(usize, String)> = if words.len() <= 6 {
        words.iter().collect()
    } else {
        words
            .iter()
            .filter(|(i, _)| *i == 0 || *i + 1 == words.len())
            .collect()
    };
    for (i, text) in named {
        let x = LEFT + pitch * (*i as f64 + 0.5);
        let (x, anchor) = if words.len() <= 6 {
            (x, "middle")
        } else if *i == 0 {
            (LEFT, "start")
        } else {
            (RIGHT, "end")
        };
        chart.texts.push(Text {
            x: at(x),
            y: at(PLOT_BOTTOM + 20.0),
            anchor,
            text: text.clone(),
        });
    }
    chart
}

/// Peak by context, each doubling one step to the right.
pub(super) fn curve(request: &Request<'_>, longest_tokens: u64, ceiling: &(String, u64)) -> Plot {
    let asked = request.workload.context_tokens;
    let end = asked
        .max(longest_tokens.min(1 << 24))
        .max(2048)
        .saturating_mul(2);
    let points: Vec<_> = (8..31)
        .map(|power| 1_u64 << power)
        .filter(|&n| n <= end)
        .filter_map(|n| {
            let workload = crate::cache::Workload {
                context_tokens: n,
                ..request.workload
            };
            let peak = Request {
                workload,
                ..*request
            }
            .assess()
            .ok()?
            .peak;
            Some((n, peak))
        })
        .collect();
    let most = points.iter().map(|(_, p)| p.high).max().unwrap_or(1);
    let scale = Scale::over(most.max(if ceiling.1 < most.saturating_mul(3) {
        ceiling.1
    } else {
        0
    }));
    let mut chart = plot(
        &scale,
        "Peak by context length, with its interval.".to_owned(),
        ceiling,
    );
    let pitch = (RIGHT - LEFT) / (points.len().max(2) - 1) as f64;
    let x = |i: usize| LEFT + pitch * i as f64;
    let join = |values: Vec<(usize, u64)>| {
        let pairs = values
            .into_iter()
            .map(|(i, bytes)| format!("{},{}", at(x(i)), at(scale.y(bytes as f64))));
        pairs.collect::<Vec<_>>().join(" ")
    };
    chart.line = join(
        points
            .iter()
            .enumerate()
            .map(|(i, (_, p))| (i, p.expected))
            .collect(),
    );
    let upper = points.iter().enumerate().map(|(i, (_, p))| (i, p.high));
    let lower = points
        .iter()
        .enumerate()
        .rev()
        .map(|(i, (_, p))| (i, p.low));
    chart.band = join(upper.chain(lower).collect());
    let every = points.len().div_ceil(9).max(1);
    for (i, (tokens, _)) in points.iter().enumerate().filter(|(i, _)| i % every == 0) {
        let anchor = if i == 0 {
            "start"
        } else if i + 1 == points.len() {
            "end"
        } else {
            "middle"
        };
        chart.texts.push(Text {
            x: at(x(i)),
            y: at(PLOT_BOTTOM + 20.0),
            anchor,
            text: grouped(*tokens),
        });
    }
    chart
}
