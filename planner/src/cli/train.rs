//! `shvplan train`: fine-tuning with `mlx_lm.lora` as a workload.

use clap::{Args, ValueEnum};
use schemars::JsonSchema;
use serde::Serialize;
use shvplan::budget;
use shvplan::report::table::Table;
use shvplan::training::{Adapter, Footprint, Method, Optimizer, Training, TrainingError};
use shvplan::units::{grouped, human};
use shvplan::verdict::{self, Outcome, Verdict};

use super::args::{Format, MachineArgs};
use super::document::VerdictPart;
use super::resolve::{self, Found};
use super::{Ending, Failure, document, out};

#[derive(Debug, Args)]
pub(crate) struct TrainArgs {
    /// A model, as for a plan.
    #[arg(long, short, value_name = "M", allow_hyphen_values = true)]
    model: String,
    /// What its weights are quantized to [default: as stored, else bf16].
    #[arg(long, short, value_name = "Q", allow_hyphen_values = true)]
    quant: Option<String>,
    /// What is trained: mlx_lm.lora's --fine-tune-type.
    #[arg(long, value_enum, default_value = "lora")]
    mode: ModeArg,
    /// Layers from the end on that are trained, or -1 for all.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 16,
        allow_hyphen_values = true
    )]
    layers: i64,
    /// Rank of the adapters.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=65_536))]
    rank: u64,
    /// Modules of a layer that get one, separated by commas, such as self_attn.q_proj [default: all].
    #[arg(long, value_name = "PATH,…", value_delimiter = ',')]
    keys: Vec<String>,
    /// Sequences a step.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=1_048_576))]
    batch: u64,
    /// Tokens of the longest sequence: mlx_lm.lora's --max-seq-length.
    #[arg(long, value_name = "N", default_value_t = 2048, value_parser = clap::value_parser!(u64).range(1..=1_073_741_824))]
    sequence: u64,
    /// Make activations again on the way back.
    #[arg(long)]
    grad_checkpoint: bool,
    /// The optimizer.
    #[arg(long, value_enum, default_value = "adam")]
    optimizer: OptimizerArg,
    #[command(flatten)]
    machine: MachineArgs,
    /// Form of the report.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    /// Exit 0 when the answer is tight.
    #[arg(long)]
    allow_tight: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ModeArg {
    Lora,
    Dora,
    Full,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OptimizerArg {
    Adam,
    Adamw,
    Muon,
    Sgd,
    Adafactor,
}

impl From<OptimizerArg> for Optimizer {
    fn from(arg: OptimizerArg) -> Self {
        match arg {
            OptimizerArg::Adam => Self::Adam,
            OptimizerArg::Adamw => Self::AdamW,
            OptimizerArg::Muon => Self::Muon,
            OptimizerArg::Sgd => Self::Sgd,
            OptimizerArg::Adafactor => Self::Adafactor,
        }
    }
}

impl TrainArgs {
    fn training(&self) -> Result<Training, Failure> {
        let layers = match self.layers {
            // mlx-lm slices `layers[-max(n, 0):]`, which is all of them for 0 too.
            -1 | 0 => None,
            n => Some(u64::try_from(n).map_err(|_| {
                Failure(format!(
                    "--layers {n}: a number of layers, or -1 for all, is expected"
                ))
            })?),
        };
        if self.mode == ModeArg::Full && !self.keys.is_empty() {
            return Err(Failure(
                "--keys: adapters alone have keys; --mode lora or dora is expected".to_owned(),
            ));
        }
        Ok(Training {
            method: if self.mode == ModeArg::Full {
                Method::Full(layers)
            } else {
                Method::Adapter(Adapter {
                    rank: self.rank,
                    layers,
                    keys: self.keys.clone(),
                    dora: self.mode == ModeArg::Dora,
                })
            },
            optimizer: self.optimizer.into(),
            batch: self.batch,
            sequence_tokens: self.sequence,
            grad_checkpoint: self.grad_checkpoint,
        })
    }
}

pub(super) fn run(args: &TrainArgs) -> Result<Ending, Failure> {
    let training = args.training()?;
    let (subject, described) = match resolve::model(&args.model)? {
        Found::Known(subject, described) => (subject, described),
        Found::Unknown { why, .. } => {
            out::complain(&why);
            return Ok(Ending::Unknown);
        }
    };
    let scheme = resolve::scheme(args.quant.as_deref(), &described)?;
    let (machine, limits, margin_bytes) = resolve::machine(&args.machine)?;
    let footprint = match training.footprint(&described.model, &scheme, args.machine.backend) {
        Ok(footprint) => footprint,
        Err(why @ TrainingError::Unknown { .. }) => {
            out::complain(&why.to_string());
            return Ok(Ending::Unknown);
        }
        Err(why) => return Err(Failure::about(&subject.source, why)),
    };
    let ceilings = budget::ceilings(&machine, args.machine.backend, limits);
    let verdict = verdict::decide(
        footprint.peak,
        footprint.weights_bytes,
        &ceilings,
        margin_bytes,
    );
    let heading = format!(
        "{} · {} · {} tokens × {} · {}",
        subject.title,
        scheme.quant,
        grouped(args.sequence),
        args.batch,
        machine.title
    );
    out::print(&match args.format {
        Format::Text => text(&heading, &footprint, &verdict),
        Format::Json => json(&subject.name, &machine.name, &footprint, &verdict),
    })?;
    Ok(Ending::of(verdict.outcome, args.allow_tight))
}

fn text(heading: &str, f: &Footprint, verdict: &Verdict) -> String {
    let word = match verdict.outcome {
        Outcome::Fits => "FITS",
        Outcome::Tight => "TIGHT",
        Outcome::DoesNotFit => "DOES NOT FIT",
    };
    let mut table = Table::new(&["what", "bytes", ""]);
    let a = &f.activations;
    for (what, bytes) in [
        ("weights", f.weights_bytes),
        ("adapters", f.adapter_bytes),
        ("gradients", f.gradient_bytes),
        ("optimizer", f.optimizer_bytes),
        ("activations of layers, about", a.layers_bytes),
        ("scores of attention, about", a.scores_bytes),
        ("logits and loss, about", a.logits_bytes),
        ("peak, about", f.peak.expected),
        ("  not less than", f.peak.low),
        ("  not more than", f.peak.high),
    ] {
        table.row([what.to_owned(), grouped(bytes), human(bytes)]);
    }
    format!(
        "{word} under {}\n{heading}\n{} parameters are trained\n\n{}",
        verdict.binding.phrase(),
        grouped(f.trainable_parameters),
        table.text()
    )
}

/// Fine-tuning with mlx_lm.lora: does it fit.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Document<'a> {
    /// Name and version of this form.
    schema: &'static str,
    model: &'a str,
    machine: &'a str,
    /// Parameters that are trained.
    trainable_parameters: u64,
    weights_bytes: u64,
    adapter_bytes: u64,
    gradient_bytes: u64,
    /// What the optimizer keeps.
    optimizer_bytes: u64,
    activations: ActivationsPart,
    /// Expected peak.
    peak_bytes: u64,
    /// Not less than.
    peak_low_bytes: u64,
    /// Not more than.
    peak_high_bytes: u64,
    #[serde(flatten)]
    verdict: VerdictPart,
}

/// What a step holds, about.
#[derive(Serialize, JsonSchema)]
struct ActivationsPart {
    /// Of the layers.
    layers_bytes: u64,
    /// Scores of attention.
    scores_bytes: u64,
    /// Logits and the loss.
    logits_bytes: u64,
}

fn json(model: &str, machine: &str, f: &Footprint, verdict: &Verdict) -> String {
    document::text(&Document {
        schema: "shvplan.train/v1",
        model,
        machine,
        trainable_parameters: f.trainable_parameters,
        weights_bytes: f.weights_bytes,
        adapter_bytes: f.adapter_bytes,
        gradient_bytes: f.gradient_bytes,
        optimizer_bytes: f.optimizer_bytes,
        activations: ActivationsPart {
            layers_bytes: f.activations.layers_bytes,
            scores_bytes: f.activations.scores_bytes,
            logits_bytes: f.activations.logits_bytes,
        },
        peak_bytes: f.peak.expected,
        peak_low_bytes: f.peak.low,
        peak_high_bytes: f.peak.high,
        verdict: verdict.into(),
    })
}
