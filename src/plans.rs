//! The plans of the settings, worked out once when the settings are read, and held against each sample.

use std::path::Path;

use shv_machine::Sample;
use shv_machine::hardware::Hardware;
use shv_machine::headroom::Headroom;
use shv_machine::sample::PressureLevel;
use shvplan::budget::{self, Backend, Limits};
use shvplan::cache::Workload;
use shvplan::model::families;
use shvplan::plan::Request;
use shvplan::quant::{Dtype, Quant, Scheme};
use shvplan::source::{catalog, json};
use shvplan::timeline::Step;
use shvplan::verdict::MARGIN_BYTES;

use crate::config::PlanSetting;

/// A plan that was worked out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// Its name in the settings.
    pub name: String,
    /// The model.
    pub model: String,
    /// What it is quantized to.
    pub quant: String,
    /// The watch whose processes run it.
    pub watch: Option<String>,
    /// All parameter arrays.
    pub weights_bytes: u64,
    /// All caches once the context is in.
    pub cache_bytes: u64,
    /// The expected peak.
    pub peak_bytes: u64,
    /// The peak's interval.
    pub peak_low_bytes: u64,
    /// The peak's interval.
    pub peak_high_bytes: u64,
    /// The lowest ceiling of the machine itself.
    ceiling_bytes: u64,
}

/// A plan against one sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Whether it could be started now: as `shvplan gate` decides it.
    pub fits: bool,
    /// From the expected peak to the lowest ceiling, what is free included; negative above it.
    pub headroom_bytes: i64,
}

impl Planned {
    /// The plan against what `sample` says is free, less what others have reserved; none where it does not say.
    #[must_use]
    pub fn now(&self, sample: &Sample, reserved_bytes: u64) -> Option<Now> {
        let ceiling = Headroom::of(sample)
            .takeable_bytes()?
            .min(self.ceiling_bytes)
            .saturating_sub(reserved_bytes);
        let pressed = sample
            .pressure
            .level
            .is_some_and(|level| level > PressureLevel::Normal);
        let headroom_bytes = i128::from(ceiling) - i128::from(self.peak_bytes);
        Some(Now {
            fits: !pressed && self.peak_high_bytes <= ceiling.saturating_sub(MARGIN_BYTES),
            headroom_bytes: headroom_bytes.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64,
        })
    }
}

/// Works a plan of the settings out.
///
/// # Errors
/// What is wrong with it, naming the key below `plans`.
pub fn work_out(setting: &PlanSetting, folder: &Path) -> Result<Planned, String> {
    planned(setting, folder, |_, _| ()).map(|(planned, ())| planned)
}

/// The same with memory over time, phase by phase.
///
/// # Errors
/// As [`work_out`].
pub fn work_out_phases(
    setting: &PlanSetting,
    folder: &Path,
) -> Result<(Planned, Vec<Step>), String> {
    planned(setting, folder, |request, weights_bytes| {
        request.timeline(weights_bytes)
    })
}

/// The plan, and what `more` makes of the request and the weights' bytes.
fn planned<T>(
    setting: &PlanSetting,
    folder: &Path,
    more: impl FnOnce(&Request<'_>, u64) -> T,
) -> Result<(Planned, T), String> {
    let about = |key: &str, why: String| format!("{} ({key}): {why}", setting.name);
    let (model_name, description) =
        described(&setting.model, folder).map_err(|why| about("model", why))?;
    let model = families::build(&description).map_err(|e| about("model", e.to_string()))?;
    let quant: Quant = match &setting.quant {
        None => Quant::Plain(Dtype::Bf16),
        Some(name) => name
            .parse()
            .map_err(|e: shvplan::quant::QuantError| about("quant", e.to_string()))?,
    };
    let scheme = Scheme::new(model.dtype, quant);
    let hardware = Hardware::this();
    let default = budget::find(budget::default_name()).map_err(|e| e.to_string())?;
    let named = setting.machine.clone().or_else(|| hardware.machine_name());
    let (machine, backend) = match named {
        Some(name) => (
            budget::find(&name).map_err(|e| about("machine", e.to_string()))?,
            Backend::Metal,
        ),
        // A computer without Apple's GPU runs MLX on its processor.
        None => (
            hardware.memory_bytes.map_or(default.clone(), |bytes| {
                budget::with_memory(&default, bytes)
            }),
            Backend::Cpu,
        ),
    };
    let workload = Workload {
        context_tokens: setting.context.get(),
        concurrency: setting.concurrency.get(),
        ..Workload::default()
    };
    let request = Request {
        model: &model,
        scheme: &scheme,
        workload,
        machine: &machine,
        backend,
        limits: Limits::default(),
        margin_bytes: MARGIN_BYTES,
    };
    let plan = request.plan().map_err(|e| about("quant", e.to_string()))?;
    let peak = plan.footprint.peak.bytes;
    let planned = Planned {
        name: setting.name.clone(),
        model: model_name,
        quant: quant.to_string(),
        watch: setting.watch.clone(),
        weights_bytes: plan.footprint.weights_bytes,
        cache_bytes: plan.footprint.cache_bytes,
        peak_bytes: peak.expected,
        peak_low_bytes: peak.low,
        peak_high_bytes: peak.high,
        ceiling_bytes: plan.ceilings.iter().map(|c| c.bytes).min().unwrap_or(0),
    };
    let told = more(&request, planned.weights_bytes);
    Ok((planned, told))
}

/// A model of the catalog, or the config.json of a path relative to the settings' folder.
fn described(model: &str, folder: &Path) -> Result<(String, serde_json::Value), String> {
    if let Some(entry) = catalog::find(model) {
        return Ok((
            entry.name.to_owned(),
            entry.description().map_err(|e| e.to_string())?,
        ));
    }
    let path = folder.join(model);
    let path = if path.is_dir() {
        path.join("config.json")
    } else {
        path
    };
    let told = |why: String| {
        format!(
            "{}: {why}; a name from `shvplan models`, a directory or a config.json is expected",
            path.display()
        )
    };
    let metadata = std::fs::metadata(&path).map_err(|e| told(e.to_string()))?;
    if !metadata.is_file() || metadata.len() > json::Limits::CONFIG.text_bytes_max as u64 {
        return Err(told("not a config.json of at most 16 MiB".to_owned()));
    }
    let bytes = std::fs::read(&path).map_err(|e| told(e.to_string()))?;
    let description = json::parse(&bytes, json::Limits::CONFIG).map_err(|e| told(e.to_string()))?;
    Ok((model.to_owned(), description))
}
