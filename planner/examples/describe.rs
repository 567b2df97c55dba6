//! Prints the tensors of a model on disk: `cargo run --example describe -- MODEL [--totals]`.
//!
//! MODEL is a directory, config.json, .safetensors, .safetensors.index.json or .gguf file, or `org/name` in the local
//! Hugging Face cache. Headers alone are read; the last line says how many bytes that took.

#[path = "../src/cli/open/mod.rs"]
mod open;

use std::io::{self, Write as _};
use std::process::ExitCode;

use open::{Hub, Opened};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (models, flags): (Vec<&String>, Vec<&String>) = arguments
        .iter()
        .partition(|argument| !argument.starts_with("--"));
    let ([model], [] | [_]) = (models.as_slice(), flags.as_slice()) else {
        eprintln!("usage: describe MODEL [--totals]");
        return ExitCode::from(2);
    };
    let hub = Hub::from_environment(|name| std::env::var_os(name));
    let printed = match open::open(model, &hub) {
        Ok(opened) => print(&opened, flags.is_empty()),
        Err(error) => {
            eprintln!("describe: {error}");
            return ExitCode::from(2);
        }
    };
    // A reader that closes the pipe has seen enough.
    if printed.is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn print(opened: &Opened, with_tensors: bool) -> io::Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    writeln!(out, "{}", opened.path.display())?;
    if let Some(model_type) = opened
        .config
        .as_ref()
        .and_then(|config| config.get("model_type"))
    {
        writeln!(out, "config.json  model_type {model_type}")?;
    }
    if let Some(gguf) = &opened.gguf {
        writeln!(out, "GGUF  {gguf:#?}")?;
    }
    if let Some(weights) = &opened.weights {
        if with_tensors {
            for tensor in &weights.tensors {
                writeln!(
                    out,
                    "{:>16}  {:<8}  {:>20}  {}",
                    tensor.bytes,
                    tensor.dtype,
                    format!("{:?}", tensor.shape),
                    tensor.name.escape_debug()
                )?;
            }
        }
        let (count, bytes, elements) = (
            weights.tensors.len(),
            weights.total_bytes,
            weights.elements(),
        );
        writeln!(out, "{count} tensors, {elements} elements, {bytes} bytes")?;
        if let Some(format) = &weights.format {
            writeln!(out, "written as {}", format.escape_debug())?;
        }
    }
    for note in &opened.notes {
        writeln!(out, "note: {note}")?;
    }
    writeln!(out, "{} bytes read", opened.bytes_read)?;
    out.flush()
}
