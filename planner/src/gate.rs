//! May it be started now: a plan against what is free, what others have reserved, and how hard memory is pressed. The
//! command line and the daemon decide by this, and show it in the same document.

use serde_json::{Value, json};

use crate::advice;
use crate::budget::{self, Backend, CeilingKind, Limits, Machine};
use crate::plan::{Plan, PlanError, Request};
use crate::quant::Scheme;
use crate::report::{Subject, text};
use crate::units::human;
use crate::verdict::{Outcome, Reason};

/// The name and version of the decision's JSON form.
pub const SCHEMA: &str = "shvplan.gate/v1";
/// The most changes that are proposed.
const ADVICE_MAX: usize = 4;
/// The most processes that are named.
pub const PROGRAMS_MAX: usize = 5;

/// What a reading of a machine says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// What a new program may take.
    pub takeable_bytes: u64,
    /// What others have reserved and not taken yet.
    pub reserved_bytes: u64,
    /// The kernel's level.
    pub pressed: Pressed,
}

/// How hard the kernel says memory is pressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pressed {
    /// Not, or it does not say.
    No,
    /// Level warning.
    Warning,
    /// Level critical.
    Critical,
}

/// A program that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Its process id.
    pub pid: u32,
    /// Its name.
    pub name: String,
    /// What it costs the machine.
    pub footprint_bytes: u64,
}

/// The largest of them, each once, at most [`PROGRAMS_MAX`]: what to close first.
#[must_use]
pub fn largest(programs: impl IntoIterator<Item = Program>) -> Vec<Program> {
    let mut programs: Vec<_> = programs.into_iter().collect();
    programs.sort_by_key(|program| (std::cmp::Reverse(program.footprint_bytes), program.pid));
    programs.dedup_by_key(|program| program.pid);
    programs.truncate(PROGRAMS_MAX);
    programs
}

/// A plan against a reading.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// The plan, with what is free among its ceilings.
    pub plan: Plan,
    /// What was read.
    pub now: Now,
    /// What would make it fit, the smallest change first.
    pub advice: Vec<String>,
}

impl Decision {
    /// Whether it may be started; `allow_tight` takes tight for a fit.
    #[must_use]
    pub fn is_go(&self, allow_tight: bool) -> bool {
        match self.plan.verdict.outcome {
            Outcome::Fits => true,
            Outcome::Tight => allow_tight,
            Outcome::DoesNotFit => false,
        }
    }

    /// What to reserve for it: the high end of its peak, and no more than there is.
    #[must_use]
    pub fn reserve_bytes(&self) -> u64 {
        let free = self
            .plan
            .ceilings
            .iter()
            .find(|ceiling| ceiling.kind == CeilingKind::ReclaimableNow);
        let peak = self.plan.footprint.peak.bytes;
        free.map_or(peak.high, |free| peak.high.min(free.bytes))
    }

    /// Whether closing programs or waiting for reservations would help.
    #[must_use]
    pub fn is_short_of_memory(&self) -> bool {
        let verdict = &self.plan.verdict;
        verdict.outcome != Outcome::Fits
            && (verdict.binding == CeilingKind::ReclaimableNow || self.now.pressed != Pressed::No)
    }
}

/// Bytes that a new program may have: what may be taken less what is reserved. Where something is reserved, the two
/// together also stay below the ceilings of the machine itself, since the GPU's limit is one for all its users.
#[must_use]
pub fn unreserved_bytes(machine: &Machine, backend: Backend, limits: Limits, now: Now) -> u64 {
    if now.reserved_bytes == 0 {
        return now.takeable_bytes;
    }
    let of_machine = Limits {
        cap_bytes: None,
        available_bytes: None,
        ..limits
    };
    let least = budget::ceilings(machine, backend, of_machine)
        .iter()
        .map(|ceiling| ceiling.bytes)
        .min();
    now.takeable_bytes
        .min(least.unwrap_or(u64::MAX))
        .saturating_sub(now.reserved_bytes)
}

/// Decides. What `request` says of available bytes is replaced by what was read.
///
/// # Errors
/// What mlx-lm refuses.
pub fn decide(request: &Request<'_>, now: Now) -> Result<Decision, PlanError> {
    let available = unreserved_bytes(request.machine, request.backend, request.limits, now);
    let request = Request {
        limits: Limits {
            available_bytes: Some(available),
            ..request.limits
        },
        ..*request
    };
    let mut plan = request.plan()?;
    if now.pressed != Pressed::No {
        let critical = now.pressed == Pressed::Critical;
        let verdict = &mut plan.verdict;
        verdict.reasons.push(Reason::UnderPressure { critical });
        verdict.outcome = if critical {
            Outcome::DoesNotFit
        } else {
            verdict.outcome.worse_of(Outcome::Tight)
        };
    }
    let mut steps = Vec::new();
    let verdict = &plan.verdict;
    if verdict.outcome != Outcome::Fits && verdict.binding == CeilingKind::ReclaimableNow {
        let peak = plan.footprint.peak.bytes;
        let short = i64::try_from(request.margin_bytes)
            .unwrap_or(i64::MAX)
            .saturating_sub(verdict.headroom_bytes)
            .saturating_add_unsigned(peak.high - peak.expected);
        if now.reserved_bytes > 0 {
            steps.push(format!(
                "wait for the {} that are reserved, or release them",
                human(now.reserved_bytes)
            ));
        }
        steps.push(format!(
            "close programs that hold {}",
            human(short.unsigned_abs())
        ));
    }
    let counsel = advice::advise(&request).advice.into_iter();
    steps.extend(
        counsel
            .take(ADVICE_MAX)
            .map(|a| format!("{} ({})", a.change.sentence(), a.change.flags())),
    );
    Ok(Decision {
        plan,
        now,
        advice: steps,
    })
}

/// What a decision is about.
#[derive(Debug, Clone, Copy)]
pub struct About<'a> {
    /// The model.
    pub subject: &'a Subject,
    /// What it is quantized to.
    pub scheme: &'a Scheme,
    /// Whether tight is taken for a fit.
    pub allow_tight: bool,
    /// Where the reading came from.
    pub origin: &'a str,
    /// How old it was.
    pub age_seconds: f64,
}

/// A decision as JSON. `close` are the largest programs, largest first.
#[must_use]
pub fn document(about: About<'_>, decision: &Decision, close: &[Program]) -> Value {
    let plan = &decision.plan;
    let ceilings: Vec<_> = plan
        .ceilings
        .iter()
        .map(|c| json!({ "name": c.kind.name(), "bytes": c.bytes, "why": c.why }))
        .collect();
    let reasons: Vec<_> = plan
        .verdict
        .reasons
        .iter()
        .map(|&r| json!({ "code": r.code(), "message": text::sentence(r) }))
        .collect();
    let close: Vec<_> = close
        .iter()
        .map(|p| json!({ "pid": p.pid, "name": p.name, "footprint_bytes": p.footprint_bytes }))
        .collect();
    let peak = plan.footprint.peak.bytes;
    json!({
        "schema": SCHEMA,
        "decision": if decision.is_go(about.allow_tight) { "go" } else { "no_go" },
        "outcome": plan.verdict.outcome.name(),
        "model": about.subject.name,
        "quantization": about.scheme.quant.to_string(),
        "binding_ceiling": plan.verdict.binding.name(),
        "headroom_bytes": plan.verdict.headroom_bytes,
        "peak_bytes": peak.expected,
        "peak_low_bytes": peak.low,
        "peak_high_bytes": peak.high,
        "reserved_bytes": decision.now.reserved_bytes,
        "ceilings": ceilings,
        "reasons": reasons,
        "advice": decision.advice,
        "close": close,
        "reading": { "from": about.origin, "age_seconds": (about.age_seconds * 1000.0).round() / 1000.0 },
    })
}

/// The JSON form of a gate that stays shut for want of a reading: why, as a code and as a sentence.
#[must_use]
pub fn shut(code: &str, why: &str) -> Value {
    json!({
        "schema": SCHEMA,
        "decision": "no_go",
        "outcome": "unknown",
        "reasons": [{ "code": code, "message": why }],
        "advice": [],
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::cache::Workload;
    use crate::model::families;
    use crate::quant::Dtype;
    use crate::quant::Quant;
    use crate::source::catalog;
    use crate::units::GIB;
    use crate::verdict::MARGIN_BYTES;

    fn decided(takeable_bytes: u64, reserved_bytes: u64, pressed: Pressed) -> Decision {
        let description = catalog::find("7b").unwrap().description().unwrap();
        let model = families::build(&description).unwrap();
        let scheme = Scheme::new(Dtype::F16, Quant::Plain(Dtype::F16));
        let machine = budget::find("m4-pro-48gb").unwrap();
        let request = Request {
            model: &model,
            scheme: &scheme,
            workload: Workload::default(),
            machine: &machine,
            backend: Backend::Metal,
            limits: Limits::default(),
            margin_bytes: MARGIN_BYTES,
        };
        let now = Now {
            takeable_bytes,
            reserved_bytes,
            pressed,
        };
        decide(&request, now).unwrap()
    }

    #[test]
    fn the_largest_come_first_and_each_once() {
        let program = |pid, footprint_bytes| Program {
            pid,
            name: format!("p{pid}"),
            footprint_bytes,
        };
        // Watched twice, 3 stands twice.
        let all = [
            (1, 10),
            (3, 50),
            (2, 50),
            (3, 50),
            (4, 7),
            (5, 6),
            (6, 90),
            (7, 5),
        ];
        let found = largest(all.map(|(pid, bytes)| program(pid, bytes)));
        let pids: Vec<u32> = found.iter().map(|p| p.pid).collect();
        assert_eq!(pids, [6, 2, 3, 1, 4]);
    }

    #[test]
    fn what_is_reserved_is_not_free() {
        let alone = decided(40 * GIB, 0, Pressed::No);
        assert!(alone.is_go(false) && alone.advice.is_empty());
        assert_eq!(alone.reserve_bytes(), alone.plan.footprint.peak.bytes.high);
        let beside = decided(40 * GIB, 30 * GIB, Pressed::No);
        assert!(!beside.is_go(true) && beside.is_short_of_memory());
        assert!(beside.advice[0].starts_with("wait for the 30.0 GiB"));
        assert!(beside.advice[1].starts_with("close programs that hold"));
    }

    #[test]
    fn all_together_stay_below_the_working_set() {
        let machine = budget::find("m4-pro-48gb").unwrap();
        let now = |reserved_bytes| Now {
            takeable_bytes: 44 * GIB,
            reserved_bytes,
            pressed: Pressed::No,
        };
        let left =
            |reserved| unreserved_bytes(&machine, Backend::Metal, Limits::default(), now(reserved));
        assert_eq!(left(0), 44 * GIB);
        assert_eq!(left(GIB), machine.working_set_bytes - GIB);
        assert_eq!(left(u64::MAX), 0);
    }

    #[test]
    fn pressure_makes_it_tight_and_then_impossible() {
        let warned = decided(40 * GIB, 0, Pressed::Warning);
        assert!(!warned.is_go(false) && warned.is_go(true));
        assert!(!decided(40 * GIB, 0, Pressed::Critical).is_go(true));
    }

    #[test]
    fn never_more_is_reserved_than_there_is() {
        let peak = decided(40 * GIB, 0, Pressed::No).plan.footprint.peak.bytes;
        let tight = decided(peak.expected + 1, 0, Pressed::No);
        assert!(tight.is_go(true) && !tight.is_go(false));
        assert_eq!(tight.reserve_bytes(), peak.expected + 1);
    }
}
