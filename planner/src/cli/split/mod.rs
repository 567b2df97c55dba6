//! `shvplan split`: one model over several machines, as stages or as slices, and how to launch it.

mod args;
mod hosts;
mod show;

use shvplan::shard::{Host, Link, LinkBackend, Mode, Question, Split, SplitError};
use shvplan::verdict::Outcome;

pub(crate) use args::SplitArgs;
use hosts::Group;
pub(crate) use show::Document;

use super::resolve::{self, Found};
use super::{Ending, Failure, out};

/// Both ways, and how to launch.
struct Answer<'a> {
    title: String,
    question: &'a Question<'a>,
    ways: Vec<(Mode, Result<Split, SplitError>)>,
    hostfile: Option<serde_json::Value>,
    /// Why it cannot be launched as the hosts stand.
    obstacle: Option<String>,
    command_tail: Vec<String>,
    launcher: Vec<String>,
}

pub(super) fn run(args: &SplitArgs) -> Result<Ending, Failure> {
    let group = hosts::group(args)?;
    let machines = hosts::machines(args, group.as_ref())?;
    let link = link(args, group.as_ref())?;
    let (subject, described) = match resolve::model(&args.model)? {
        Found::Known(subject, described) => (subject, described),
        Found::Unknown { why, .. } => {
            out::complain(&why);
            return Ok(Ending::Unknown);
        }
    };
    let scheme = resolve::scheme(args.quant.as_deref(), &described)?;
    let workload = resolve::workload(args.workload.context, &args.workload.load)?;
    let (_, _, margin_bytes) = resolve::machine(&args.machine)?;
    let question = Question {
        model: &described.model,
        scheme: &scheme,
        workload,
        hosts: &machines,
        link,
        backend: args.machine.backend,
        margin_bytes,
    };
    let modes = args.mode.map_or_else(
        || vec![Mode::Pipeline, Mode::Tensor],
        |mode| vec![mode.into()],
    );
    let ways: Vec<_> = modes
        .into_iter()
        .map(|mode| (mode, question.split(mode)))
        .collect();
    if ways.iter().all(|(_, way)| way.is_err()) {
        let why: Vec<String> = ways
            .iter()
            .filter_map(|(mode, way)| Some(format!("{}: {}", mode.name(), way.as_ref().err()?)))
            .collect();
        return Err(Failure::about(&subject.source, why.join("; ")));
    }
    let answer = Answer {
        title: subject.title.clone(),
        hostfile: group.as_ref().map(|g| g.hostfile(link.backend)),
        obstacle: group.as_ref().and_then(|g| g.check(link.backend).err()),
        launcher: launcher(args, group.as_ref(), &machines, link.backend),
        command_tail: command(args, group.as_ref(), &subject.source),
        question: &question,
        ways,
    };
    if let (Some(path), Some(hostfile)) = (&args.hostfile, &answer.hostfile) {
        if let Some(why) = &answer.obstacle {
            return Err(Failure(why.clone()));
        }
        std::fs::write(path, format!("{hostfile:#}\n"))
            .map_err(|e| Failure::about(path.display(), e))?;
    }
    out::print(&match args.format {
        super::args::Format::Json => answer.json(),
        super::args::Format::Text => answer.text(),
    })?;
    let best = answer
        .best()
        .map_or(Outcome::DoesNotFit, |split| split.outcome);
    Ok(Ending::of(best, args.allow_tight))
}

fn link(args: &SplitArgs, group: Option<&Group>) -> Result<Link, Failure> {
    if let Some(link) = args.link {
        return Ok(link);
    }
    let named = group.and_then(|g| {
        let backend = g.backend.as_deref().filter(|b| b.starts_with("jaccl"));
        g.link.as_deref().or(backend.map(|_| "jaccl"))
    });
    named
        .unwrap_or("thunderbolt5")
        .parse()
        .map_err(|e| Failure::about("field 'link'", e))
}

/// `mlx.launch` with what it needs to know of the machines.
fn launcher(
    args: &SplitArgs,
    group: Option<&Group>,
    machines: &[Host],
    backend: LinkBackend,
) -> Vec<String> {
    let mut words = vec!["mlx.launch".to_owned()];
    match group {
        None => words.extend(["-n".to_owned(), machines.len().to_string()]),
        Some(group) => {
            let file = args
                .hostfile
                .as_ref()
                .map_or_else(|| "hosts.json".to_owned(), |p| p.display().to_string());
            words.extend(["--hostfile".to_owned(), file]);
            if let Some(python) = &group.python {
                words.extend(["--python".to_owned(), python.clone()]);
            }
        }
    }
    words.extend(["--backend", backend.name()].map(ToOwned::to_owned));
    words
}

/// The program that every rank runs.
fn command(args: &SplitArgs, group: Option<&Group>, source: &str) -> Vec<String> {
    let load = args.load.clone().unwrap_or_else(|| {
        if source.starts_with("catalog: ") {
            // What mlx_lm.convert makes of it, where it is told nothing else.
            "mlx_model".to_owned()
        } else {
            args.model.clone()
        }
    });
    let program: &[&str] = if group.is_some_and(|g| g.python.is_some()) {
        &["-m", "mlx_lm", "server"]
    } else {
        &["mlx_lm.server"]
    };
    let mut words: Vec<String> = program.iter().map(|&w| w.to_owned()).collect();
    words.extend(["--model".to_owned(), load]);
    words
}

impl Answer<'_> {
    /// The better way: the milder outcome, then the faster answer.
    fn best(&self) -> Option<&Split> {
        let rank = |split: &Split| match split.outcome {
            Outcome::Fits => 0,
            Outcome::Tight => 1,
            Outcome::DoesNotFit => 2,
        };
        self.ways
            .iter()
            .filter_map(|(_, way)| way.as_ref().ok())
            .min_by(|a, b| {
                rank(a)
                    .cmp(&rank(b))
                    .then(b.decode.expected.total_cmp(&a.decode.expected))
            })
    }

    /// The command that launches the model split this way.
    fn command(&self, mode: Mode) -> String {
        let mut words = self.launcher.clone();
        words.push("--".to_owned());
        words.extend(self.command_tail.iter().cloned());
        if mode == Mode::Pipeline {
            words.push("--pipeline".to_owned());
        }
        words
            .iter()
            .map(|w| quoted(w))
            .collect::<Vec<_>>()
            .join(" ")
    }
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@+,~".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn words_are_quoted_where_a_shell_would_split_them() {
        assert_eq!(quoted("/models/a-b_c.1"), "/models/a-b_c.1");
        assert_eq!(quoted("my model's"), r"'my model'\''s'");
        assert_eq!(quoted(""), "''");
    }
}
