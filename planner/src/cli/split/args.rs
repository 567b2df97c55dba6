//! Flags of `shvplan split`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use shvplan::shard::{Link, Mode};

use crate::cli::args::{Format, MachineArgs, WorkloadArgs};

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("group").required(true).args(["hosts", "ranks"]))]
pub(crate) struct SplitArgs {
    /// A model, as for a plan.
    #[arg(long, short, value_name = "M", allow_hyphen_values = true)]
    pub(crate) model: String,
    /// What its weights are quantized to [default: as stored, else bf16].
    #[arg(long, short, value_name = "Q", allow_hyphen_values = true)]
    pub(crate) quant: Option<String>,
    /// The machines, as YAML (docs/split.md has the form), or a hostfile of mlx.launch.
    #[arg(long, value_name = "FILE")]
    pub(crate) hosts: Option<PathBuf>,
    /// This many machines, each as --machine says.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(2..=64))]
    pub(crate) ranks: Option<u64>,
    /// What connects them: ethernet-1g, ethernet-10g, thunderbolt4, thunderbolt5 or jaccl
    /// [default: as the file says, else thunderbolt5].
    #[arg(long, value_name = "LINK", value_parser = link)]
    pub(crate) link: Option<Link>,
    /// Look at one way only.
    #[arg(long, value_enum)]
    pub(crate) mode: Option<ModeArg>,
    /// What mlx-lm is to load in the printed command: a path or org/name [default: what --model says].
    #[arg(long, value_name = "PATH")]
    pub(crate) load: Option<String>,
    /// Write the hostfile for mlx.launch.
    #[arg(long, value_name = "FILE", requires = "hosts")]
    pub(crate) hostfile: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) workload: WorkloadArgs,
    #[command(flatten)]
    pub(crate) machine: MachineArgs,
    /// Form of the report.
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) format: Format,
    /// Exit 0 when the answer is tight.
    #[arg(long)]
    pub(crate) allow_tight: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ModeArg {
    Pipeline,
    Tensor,
}

impl From<ModeArg> for Mode {
    fn from(arg: ModeArg) -> Self {
        match arg {
            ModeArg::Pipeline => Self::Pipeline,
            ModeArg::Tensor => Self::Tensor,
        }
    }
}

fn link(text: &str) -> Result<Link, String> {
    text.parse()
}
