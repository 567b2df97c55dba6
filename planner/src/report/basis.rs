//! What an answer rests on, each with where that comes from.

use super::Report;
use crate::units::{grouped, human};
use crate::working_set::MLX_VERSION;

/// Something that an answer rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Basis {
    /// What is taken for granted, a sentence.
    pub(super) statement: String,
    /// Where that comes from.
    pub(super) source: String,
}

/// What the answer rests on, in the order in which the report goes.
pub(super) fn of(report: &Report<'_>) -> Vec<Basis> {
    let (request, plan) = (report.request, report.plan);
    let (model, machine, peak) = (request.model, request.machine, &plan.footprint.peak);
    let mut all = Vec::new();
    let mut add = |statement: String, source: &str| {
        all.push(Basis {
            statement,
            source: source.to_owned(),
        });
    };
    add(
        format!("The model's shapes are those of {}.", report.subject.source),
        "the file's own fields",
    );
    add(
        format!(
            "Its arrays and caches are those of the class for {}.",
            model.architecture
        ),
        &format!(
            "mlx-lm 0.32.2, models/ ({}) and models/cache.py",
            model.family
        ),
    );
    add(
        format!(
            "A prompt is read in chunks of {} tokens; the whole context counts as prompt.",
            grouped(request.workload.prefill_step_tokens)
        ),
        "mlx-lm 0.32.2, generate.py (prefill_step_size); --prefill-step",
    );
    add(
        format!(
            "The working set is what MLX's scheduler holds on the {} backend, played operation by operation.",
            request.backend.name()
        ),
        &format!("mlx {MLX_VERSION}, its source; docs/arithmetic.md"),
    );
    add(
        if peak.assumptions.is_empty() {
            "The interval is 2 % of the peak and 10 % of the working set each way: every kind of layer was compared with real Macs.".to_owned()
        } else {
            "The interval is 3 % of the peak and 30 % of the working set each way: not every kind was compared with a real Mac.".to_owned()
        },
        "what is left over on published peaks; docs/arithmetic.md",
    );
    for assumption in peak.assumptions.iter() {
        add(sentence(assumption.sentence()), "no measurement");
    }
    for ceiling in &plan.ceilings {
        add(
            format!(
                "{} is {}.",
                capital(ceiling.kind.phrase()),
                human(ceiling.bytes)
            ),
            &ceiling.why,
        );
    }
    add(
        format!(
            "{} are kept free below every ceiling; a peak whose interval reaches into them is tight.",
            human(request.margin_bytes)
        ),
        "a choice of this program; --margin",
    );
    add(
        format!(
            "Memory moves {:.0} GB a second.",
            machine.bandwidth_bytes_per_second as f64 / 1e9
        ),
        &machine.source,
    );
    add(
        if machine.measured.is_some() {
            "Rates of memory and of matrix products are this machine's own.".to_owned()
        } else if plan.speed.measured {
            "Shares of the data sheet that a run reaches were fitted to published speeds, this kind of chip among them.".to_owned()
        } else {
            "Shares of the data sheet that a run reaches were fitted to published speeds of other chips.".to_owned()
        },
        if machine.measured.is_some() {
            "--calibration, a result of shvd bench"
        } else {
            "catalog/fitted.json lists the constants, the rows and what is left over"
        },
    );
    add(
        "Speeds are for one conversation.".to_owned(),
        "docs/plan.md",
    );
    all
}

/// A sentence of what stands as a phrase.
pub(super) fn sentence(phrase: &str) -> String {
    format!("{}.", capital(phrase.trim_end_matches('.')))
}

/// A phrase with a capital at its start.
pub(super) fn capital(phrase: &str) -> String {
    let mut letters = phrase.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(letters).collect()
    })
}
