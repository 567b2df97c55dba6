//! What is measured, in order: the baseline's own rows, then kernels of the shapes that language models have.

use crate::engine::backend::kernels::{Elementwise, Kernel, Number};

/// One row of the table, before it is measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// Unique name, stable between versions: what `--only` and `--compare` go by.
    pub name: String,
    /// What runs.
    pub kernel: Kernel,
    /// On which numbers.
    pub number: Number,
    /// What the baseline document printed for the M4 Pro with 48 GB (MLX 0.26.5), where it did, in seconds.
    pub baseline_seconds: Option<f64>,
}

/// Side of the square element-wise operands, as in the baseline.
const SIDE: usize = 8192;
/// Elements handed to the host: 256 MiB in fp32.
const HOST_ELEMENTS: usize = 64 << 20;
/// mlx-lm's `prefill_step_size`.
const PREFILL_STEP: usize = 2048;
/// Hidden and feed-forward size of LLaMA models.
const LLAMA: [(&str, usize, usize); 3] = [
    ("7b", 4096, 11008),
    ("13b", 5120, 13824),
    ("30b", 6656, 17920),
];

/// All rows.
#[must_use]
pub fn suite() -> Vec<Case> {
    let mut cases = baseline();
    cases.extend(llm());
    cases
}

fn both(cases: &mut Vec<Case>, name: &str, kernel: Kernel, baseline_ms: Option<f64>) {
    for number in [Number::Fp32, Number::Bf16] {
        // The baseline's figures are for 32-bit numbers.
        let baseline = baseline_ms.filter(|_| number == Number::Fp32);
        cases.push(Case {
            name: format!("{name}-{}", number.name()),
            kernel,
            number,
            baseline_seconds: baseline.map(|ms| ms / 1e3),
        });
    }
}

fn baseline() -> Vec<Case> {
    let mut cases = Vec::new();
    for (size, ms) in [(1000, 0.75), (2048, 2.82), (4096, 20.72), (8192, 166.61)] {
        both(
            &mut cases,
            &format!("matmul-{size}"),
            Kernel::Matmul { size },
            Some(ms),
        );
    }
    for (name, operation, ms) in [
        ("add", Elementwise::Add, 3.78),
        ("multiply", Elementwise::Multiply, 3.77),
        ("relu", Elementwise::Relu, 2.61),
        ("softmax", Elementwise::Softmax, 2.69),
    ] {
        let kernel = Kernel::Elementwise {
            operation,
            rows: SIDE,
            columns: SIDE,
        };
        both(&mut cases, &format!("{name}-{SIDE}"), kernel, Some(ms));
    }
    let attention = Kernel::Attention {
        batch: 32,
        heads: 12,
        queries: 512,
        keys: 512,
        head: 64,
        causal: false,
    };
    both(&mut cases, "attention-32x512x768", attention, Some(11.98));
    both(
        &mut cases,
        "layer-norm-32x512x768",
        Kernel::LayerNorm {
            rows: 32 * 512,
            columns: 768,
        },
        Some(2.54),
    );
    // The baseline names neither its model nor its batch: there is nothing to set these samples a second beside.
    both(
        &mut cases,
        "train-784x256x10",
        Kernel::Train {
            batch: 256,
            inputs: 784,
            hidden: 256,
            outputs: 10,
        },
        None,
    );
    let fp32 = |name: &str, kernel| Case {
        name: name.to_owned(),
        kernel,
        number: Number::Fp32,
        baseline_seconds: None,
    };
    cases.push(fp32(
        "copy-to-host",
        Kernel::CopyToHost {
            elements: HOST_ELEMENTS,
        },
    ));
    cases.push(fp32(
        "view-on-host",
        Kernel::ViewOnHost {
            elements: HOST_ELEMENTS,
        },
    ));
    cases.push(fp32(
        "allocate-20x100mb",
        Kernel::Allocate {
            arrays: 20,
            elements: 25_000_000,
        },
    ));
    cases
}

fn llm() -> Vec<Case> {
    let bf16 = |name: String, kernel| Case {
        name,
        kernel,
        number: Number::Bf16,
        baseline_seconds: None,
    };
    let mut cases = Vec::new();
    for (tokens, phase) in [(1, "decode"), (512, "prompt")] {
        for (model, hidden, wide) in LLAMA {
            for (layer, inputs, outputs) in [
                ("attn", hidden, hidden),
                ("up", hidden, wide),
                ("down", wide, hidden),
            ] {
                for bits in [4, 8] {
                    let kernel = Kernel::QuantizedMatmul {
                        tokens,
                        inputs,
                        outputs,
                        bits,
                        group: 64,
                    };
                    cases.push(bf16(format!("{phase}-{model}-{layer}-int{bits}"), kernel));
                }
                if model == "7b" {
                    let kernel = Kernel::Linear {
                        tokens,
                        inputs,
                        outputs,
                    };
                    cases.push(bf16(format!("{phase}-{model}-{layer}-bf16"), kernel));
                }
            }
        }
    }
    for keys in [4 << 10, 16 << 10, 32 << 10] {
        let kernel = Kernel::Attention {
            batch: 1,
            heads: 32,
            queries: PREFILL_STEP,
            keys,
            head: 128,
            causal: true,
        };
        cases.push(bf16(format!("prefill-attention-{}k", keys >> 10), kernel));
    }
    cases
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = suite().into_iter().map(|case| case.name).collect();
        let all = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all);
    }

    /// The baseline's rates follow from its times and the counted work.
    #[test]
    fn the_baseline_is_checked_against_itself() {
        for (name, gflops) in [
            ("matmul-1000-fp32", 2656.0),
            ("matmul-2048-fp32", 6095.0),
            ("matmul-4096-fp32", 6634.0),
            ("matmul-8192-fp32", 6599.0),
        ] {
            let case = suite().into_iter().find(|case| case.name == name);
            let rate = case.and_then(|case| {
                Some(case.kernel.work(case.number).flops as f64 / case.baseline_seconds? / 1e9)
            });
            assert!(
                rate.is_some_and(|rate| (rate / gflops - 1.0).abs() < 0.01),
                "{name}: {rate:?}"
            );
        }
    }
}
