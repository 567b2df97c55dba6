//! Flags as they are typed.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use shvplan::budget::Backend;
use shvplan::plan::{CONCURRENCY_MAX, CONTEXT_MAX};
use shvplan::units::{parse_seconds, parse_size};

const AFTER_HELP: &str = "\
Exit codes: 0 fits, 1 does not fit, 2 bad usage or input, 3 tight, 4 unknown architecture.

Examples:
  shvplan --model 30b --quant int4
  shvplan --model qwen3-8b --quant int8 --context 32768 --concurrency 4 --machine m3-max-64gb
  shvplan --model ./config.json --quant mxfp4 --format json
  shvplan matrix --models 7b,13b,30b --quants int4,int8,fp16";

/// Will this model fit this Mac? MLX's own bytes for weights, caches and peak, and the ceiling that binds.
#[derive(Debug, Parser)]
#[command(name = "shvplan", version, after_help = AFTER_HELP, args_conflicts_with_subcommands = true, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) plan: PlanArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// May I launch it right now? The plan against what is free, as an exit code.
    Gate(Box<GateArgs>),
    /// One table over models, quantizations and contexts.
    Matrix(Box<MatrixArgs>),
    /// The best that fits: quantizations of a model, models for a machine, or machines for a model.
    Solve(Box<SolveArgs>),
    /// Two models, or two quantizations of one, side by side.
    Diff(Box<DiffArgs>),
    /// One model on several machines.
    Compare(Box<CompareArgs>),
    /// Which machine of a fleet takes which model, by what a Prometheus server knows of them.
    Place(Box<super::place::PlaceArgs>),
    /// One model over several machines at once: what each holds, and how to launch it.
    Split(Box<super::split::SplitArgs>),
    /// Fine-tuning with mlx_lm.lora: what is trained, what the optimizer keeps, and the peak.
    Train(Box<super::train::TrainArgs>),
    /// The models that are known by name.
    Models(ListArgs),
    /// The machines that are known by name.
    Machines(ListArgs),
    /// The JSON Schema of a document of --format json.
    Schema {
        /// Which one.
        #[arg(value_enum, default_value = "report")]
        document: super::document::Kind,
    },
    /// A completion script for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Manual pages: shvplan(1), or one for each command into a folder.
    Man {
        /// The folder; without one, shvplan(1) is printed.
        folder: Option<PathBuf>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Text,
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReportFormat {
    Text,
    Json,
    Html,
}

#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    /// A model: 7b, 13b, 30b (LLaMA), a name from `shvplan models`, a directory, a config.json, .safetensors,
    /// .safetensors.index.json or .gguf file, or org/name from the local Hugging Face cache.
    #[arg(long, short, value_name = "M", allow_hyphen_values = true)]
    pub(crate) model: Option<String>,
    /// What its weights are quantized to, such as int4, int8:g32, mxfp4, mixed_4_6 or bf16 [default: what the model is
    /// stored as, else bf16].
    #[arg(long, short, value_name = "Q", allow_hyphen_values = true)]
    pub(crate) quant: Option<String>,
    #[command(flatten)]
    pub(crate) workload: WorkloadArgs,
    #[command(flatten)]
    pub(crate) machine: MachineArgs,
    /// Form of the report.
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) format: ReportFormat,
    /// Show every array, layer by layer.
    #[arg(long)]
    pub(crate) explain: bool,
    /// Exit 0 when the answer is tight.
    #[arg(long)]
    pub(crate) allow_tight: bool,
    /// Write the report to a file.
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) several: super::several::SeveralFlags,
}

#[derive(Debug, Args)]
pub(crate) struct WorkloadArgs {
    /// Tokens in each conversation, prompt and answer together.
    #[arg(long, short, value_name = "N", default_value = "4096", value_parser = context, allow_hyphen_values = true)]
    pub(crate) context: u64,
    #[command(flatten)]
    pub(crate) load: LoadArgs,
}

#[derive(Debug, Args)]
pub(crate) struct LoadArgs {
    /// Conversations at once.
    #[arg(long, value_name = "N", default_value = "1", value_parser = concurrency, allow_hyphen_values = true)]
    pub(crate) concurrency: u64,
    /// Quantize the KV cache: bits, and group size after a colon, such as 8 or 4:32.
    #[arg(long, value_name = "B[:G]", allow_hyphen_values = true)]
    pub(crate) kv_quant: Option<String>,
    /// Tokens from which on the KV cache is quantized.
    #[arg(long, value_name = "N", default_value = "5000", value_parser = kv_start, allow_hyphen_values = true)]
    pub(crate) quantized_kv_start: u64,
    /// Tokens a prefill chunk.
    #[arg(long, value_name = "N", default_value = "2048", value_parser = context, allow_hyphen_values = true)]
    pub(crate) prefill_step: u64,
    /// mlx-lm's --max-kv-size: keep only the last N tokens, where the model honours it.
    #[arg(long, value_name = "N", value_parser = context, allow_hyphen_values = true)]
    pub(crate) max_kv_size: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct MachineArgs {
    /// A machine: <chip>-<memory>gb, a JSON or YAML file, or 'this' [default: m4-pro-48gb].
    #[arg(long, value_name = "NAME", allow_hyphen_values = true)]
    pub(crate) machine: Option<String>,
    /// Its memory, such as 48GB; without --machine, of the default chip.
    #[arg(long, value_name = "SIZE", value_parser = size, allow_hyphen_values = true)]
    pub(crate) memory: Option<u64>,
    /// Where the model runs.
    #[arg(long, value_name = "BACKEND", default_value = "metal", value_parser = backend)]
    pub(crate) backend: Backend,
    /// The value of `sysctl iogpu.wired_limit_mb` on it, where that is set.
    #[arg(long, value_name = "MIB", value_parser = wired_limit, allow_hyphen_values = true)]
    pub(crate) wired_limit_mb: Option<u64>,
    /// Your own cap on the peak, such as 40GB.
    #[arg(long, value_name = "SIZE", value_parser = size, allow_hyphen_values = true)]
    pub(crate) cap: Option<u64>,
    /// Use the rates that `shvd bench --calibration FILE` measured.
    #[arg(long, value_name = "FILE")]
    pub(crate) calibration: Option<PathBuf>,
    /// Kept free below every ceiling [default: 256MB].
    #[arg(long, value_name = "SIZE", value_parser = size, allow_hyphen_values = true)]
    pub(crate) margin: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct GateArgs {
    /// A model, as for a plan.
    #[arg(
        long,
        short,
        value_name = "M",
        required_unless_present = "release",
        allow_hyphen_values = true
    )]
    pub(crate) model: Option<String>,
    /// What its weights are quantized to [default: as stored, else bf16].
    #[arg(long, short, value_name = "Q", allow_hyphen_values = true)]
    pub(crate) quant: Option<String>,
    #[command(flatten)]
    pub(crate) workload: WorkloadArgs,
    #[command(flatten)]
    pub(crate) machine: MachineArgs,
    /// Read the machine's state from a file: what `vm_stat` prints, or a sample as JSON; - is standard input.
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with = "shvd",
        allow_hyphen_values = true
    )]
    pub(crate) snapshot: Option<PathBuf>,
    /// Ask a running shvd, such as http://127.0.0.1:9464.
    #[arg(long, value_name = "URL")]
    pub(crate) shvd: Option<String>,
    /// A reading older than this counts as none.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_seconds)]
    pub(crate) max_age: u64,
    /// Take a reading of any age: for a recorded state.
    #[arg(long, conflicts_with = "max_age")]
    pub(crate) any_age: bool,
    /// Wait until it fits, at most this long.
    #[arg(long, value_name = "TIME", value_parser = parse_seconds)]
    pub(crate) wait: Option<u64>,
    /// After a yes, reserve what the model needs at the daemon, for at most this long.
    #[arg(long, value_name = "TIME", value_parser = parse_seconds, requires = "shvd")]
    pub(crate) reserve: Option<u64>,
    /// Whose footprint takes the reservation's place as it grows; 0 is nobody's [default: the process that runs this].
    #[arg(long, value_name = "PID", requires = "reserve")]
    pub(crate) pid: Option<u32>,
    /// End a reservation early.
    #[arg(long, value_name = "ID", requires = "shvd", conflicts_with_all = ["model", "reserve", "wait"], allow_hyphen_values = true)]
    pub(crate) release: Option<String>,
    /// Print the decision as JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Exit 0 when the answer is tight.
    #[arg(long)]
    pub(crate) allow_tight: bool,
    /// Print nothing; the exit code is the answer.
    #[arg(long, short = 'Q')]
    pub(crate) quiet: bool,
}

#[derive(Debug, Args)]
pub(crate) struct MatrixArgs {
    /// Models, separated by commas.
    #[arg(
        long,
        value_name = "M,…",
        value_delimiter = ',',
        default_value = "7b,13b,30b",
        allow_hyphen_values = true
    )]
    pub(crate) models: Vec<String>,
    /// Quantizations, separated by commas.
    #[arg(
        long,
        value_name = "Q,…",
        value_delimiter = ',',
        default_value = "int4,int8,fp16",
        allow_hyphen_values = true
    )]
    pub(crate) quants: Vec<String>,
    /// Contexts in tokens, separated by commas.
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "4096", value_parser = context, allow_hyphen_values = true)]
    pub(crate) contexts: Vec<u64>,
    #[command(flatten)]
    pub(crate) load: LoadArgs,
    #[command(flatten)]
    pub(crate) machine: MachineArgs,
    /// Form of the table.
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) format: TableFormat,
}

#[derive(Debug, Args)]
pub(crate) struct SolveArgs {
    /// A model; without one, the whole catalog is searched for what runs best on the machine.
    #[arg(long, short, value_name = "M", allow_hyphen_values = true)]
    pub(crate) model: Option<String>,
    /// Search the machines instead, for the smallest that runs the model.
    #[arg(long, requires = "model")]
    pub(crate) machines: bool,
    /// Quantizations to try, separated by commas.
    #[arg(
        long,
        value_name = "Q,…",
        value_delimiter = ',',
        default_value = "bf16,int8,mxfp8,int6,int5,int4,mxfp4,mixed_3_6,int3,int2",
        allow_hyphen_values = true
    )]
    pub(crate) quants: Vec<String>,
    #[command(flatten)]
    pub(crate) workload: WorkloadArgs,
    #[command(flatten)]
    pub(crate) machine: MachineArgs,
    /// Leave out what decodes more slowly than this, in tokens a second.
    #[arg(long, value_name = "RATE", value_parser = rate, allow_hyphen_values = true)]
    pub(crate) min_speed: Option<f64>,
    /// Leave out models with fewer parameters than this, such as 7B.
    #[arg(long, value_name = "N", value_parser = parameters, allow_hyphen_values = true)]
    pub(crate) min_parameters: Option<u64>,
    /// Leave out models of other architectures.
    #[arg(long, value_name = "MODEL_TYPE")]
    pub(crate) architecture: Option<String>,
    /// Show every candidate that fits, not only those that no other beats in everything.
    #[arg(long)]
    pub(crate) all: bool,
    /// Form of the table.
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) format: TableFormat,
}

#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// A model, with a quantization after an @, such as 30b@int4.
    #[arg(value_name = "A[@Q]")]
    pub(crate) left: String,
    /// Another, such as 30b@int8.
    #[arg(value_name = "B[@Q]")]
    pub(crate) right: String,
    #[command(flatten)]
    pub(crate) workload: WorkloadArgs,
    #[command(flatten)]
    pub(crate) machine: MachineArgs,
    /// Form of the table.
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) format: TableFormat,
}

#[derive(Debug, Args)]
pub(crate) struct CompareArgs {
    /// A model.
    #[arg(long, short, value_name = "M", allow_hyphen_values = true)]
    pub(crate) model: String,
    /// What its weights are quantized to [default: bf16].
    #[arg(long, short, value_name = "Q", allow_hyphen_values = true)]
    pub(crate) quant: Option<String>,
    /// Machines, separated by commas; without it, all that are known.
    #[arg(
        long,
        value_name = "NAME,…",
        value_delimiter = ',',
        allow_hyphen_values = true
    )]
    pub(crate) machines: Vec<String>,
    #[command(flatten)]
    pub(crate) workload: WorkloadArgs,
    /// Form of the table.
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) format: TableFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum TableFormat {
    Text,
    Json,
    Csv,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Form of the list.
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) format: Format,
    /// List the architectures that are known instead (models only).
    #[arg(long)]
    pub(crate) families: bool,
}

fn whole(text: &str, least: u64, most: u64) -> Result<u64, String> {
    // A thousands separator is what people copy from a table.
    let plain = text.replace(['_', ','], "");
    match plain.parse::<u64>() {
        Ok(n) if (least..=most).contains(&n) => Ok(n),
        _ => Err(format!("a whole number from {least} to {most} is expected")),
    }
}

fn context(text: &str) -> Result<u64, String> {
    whole(text, 1, CONTEXT_MAX)
}

fn concurrency(text: &str) -> Result<u64, String> {
    whole(text, 1, CONCURRENCY_MAX)
}

fn kv_start(text: &str) -> Result<u64, String> {
    whole(text, 0, CONTEXT_MAX)
}

fn wired_limit(text: &str) -> Result<u64, String> {
    whole(text, 0, 1 << 24)
}

fn size(text: &str) -> Result<u64, String> {
    parse_size(text).map_err(|e| e.to_string())
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text
        .parse::<f64>()
        .ok()
        .filter(|r| r.is_finite() && *r >= 0.0);
    rate.ok_or_else(|| "a number of tokens a second is expected".to_owned())
}

fn parameters(text: &str) -> Result<u64, String> {
    let lower = text.to_ascii_lowercase();
    let (number, scale) = match lower.strip_suffix('b') {
        Some(number) => (number, 1e9),
        None => lower
            .strip_suffix('m')
            .map_or((lower.as_str(), 1.0), |number| (number, 1e6)),
    };
    let count = number
        .parse::<f64>()
        .ok()
        .map(|n| n * scale)
        .filter(|n| (0.0..1e18).contains(n));
    count
        .map(|n| n as u64)
        .ok_or_else(|| "a number of parameters is expected, such as 7B".to_owned())
}

fn backend(text: &str) -> Result<Backend, String> {
    match text {
        "metal" => Ok(Backend::Metal),
        "cuda" => Ok(Backend::Cuda),
        "cpu" => Ok(Backend::Cpu),
        _ => Err("metal, cuda or cpu is expected".to_owned()),
    }
}
