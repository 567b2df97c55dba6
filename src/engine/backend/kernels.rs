//! The seam for kernels: what can be measured, what it costs in operations and bytes, and how a backend runs it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{BackendError, DeviceInfo};

/// How numbers are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Number {
    /// 32-bit floating point.
    Fp32,
    /// 16-bit brain floating point.
    Bf16,
}

impl Number {
    /// Bytes of one.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        match self {
            Self::Fp32 => 4,
            Self::Bf16 => 2,
        }
    }

    /// The name as written in tables and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fp32 => "fp32",
            Self::Bf16 => "bf16",
        }
    }
}

/// Kernels over one or two arrays of one shape, element by element or row by row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Elementwise {
    /// a + b.
    Add,
    /// a · b.
    Multiply,
    /// max(a, 0).
    Relu,
    /// exp(a) over its sum along the last axis, summed in 32-bit numbers whatever those of the operand.
    Softmax,
}

/// Something to measure, with its shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kernel {
    /// (size, size) · (size, size).
    Matmul {
        /// Rows and columns of both.
        size: usize,
    },
    /// See [`Elementwise`]; operands are (rows, columns).
    Elementwise {
        /// Which.
        operation: Elementwise,
        /// Rows.
        rows: usize,
        /// Columns.
        columns: usize,
    },
    /// A fresh array, copied to memory of the host's own.
    CopyToHost {
        /// Its elements.
        elements: usize,
    },
    /// A fresh array, read by the host where it lies.
    ViewOnHost {
        /// Its elements.
        elements: usize,
    },
    /// softmax(Q·Kᵀ / √d) · V for (batch, heads, queries, head) and (batch, heads, keys, head).
    Attention {
        /// Sequences.
        batch: usize,
        /// Heads, the same for queries, keys and values.
        heads: usize,
        /// Queries a sequence.
        queries: usize,
        /// Keys a sequence, no fewer than queries.
        keys: usize,
        /// Elements of one head.
        head: usize,
        /// Query *i* sees keys up to keys − queries + *i*.
        causal: bool,
    },
    /// Normalization over the last axis of (rows, columns), with scale and offset.
    LayerNorm {
        /// Rows.
        rows: usize,
        /// Columns.
        columns: usize,
    },
    /// Arrays of ones, held together, then dropped.
    Allocate {
        /// How many.
        arrays: usize,
        /// Elements of each.
        elements: usize,
    },
    /// One step of stochastic gradient descent on a perceptron of two layers, mean squared error.
    Train {
        /// Samples a step.
        batch: usize,
        /// Inputs of a sample.
        inputs: usize,
        /// Units between.
        hidden: usize,
        /// Outputs of a sample.
        outputs: usize,
    },
    /// (tokens, inputs) · Wᵀ with W (outputs, inputs) in affine quantization.
    QuantizedMatmul {
        /// Rows of the left operand: 1 while decoding, many in a prompt.
        tokens: usize,
        /// Inputs of the layer.
        inputs: usize,
        /// Outputs of the layer.
        outputs: usize,
        /// Bits of a weight.
        bits: usize,
        /// Weights that share a scale and a bias.
        group: usize,
    },
    /// The same with W in plain numbers.
    Linear {
        /// Rows of the left operand.
        tokens: usize,
        /// Inputs of the layer.
        inputs: usize,
        /// Outputs of the layer.
        outputs: usize,
    },
}

/// What a kernel must do at least, counted from its shape.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Work {
    /// Multiplications and additions in matrix products; 0 where those are not what costs.
    pub flops: u64,
    /// Bytes of every operand read once and of every result written once.
    pub bytes: u64,
}

impl Kernel {
    /// Operations and bytes of one call with numbers stored as `number`.
    #[must_use]
    pub fn work(&self, number: Number) -> Work {
        let n = |value: usize| value as u64;
        let each = number.bytes();
        match *self {
            Self::Matmul { size: side } => Work {
                flops: 2 * n(side).pow(3),
                bytes: 3 * n(side).pow(2) * each,
            },
            Self::Elementwise {
                operation,
                rows,
                columns,
            } => {
                let arrays = match operation {
                    Elementwise::Add | Elementwise::Multiply => 3,
                    Elementwise::Relu | Elementwise::Softmax => 2,
                };
                Work {
                    flops: 0,
                    bytes: arrays * n(rows) * n(columns) * each,
                }
            }
            Self::CopyToHost { elements } => Work {
                flops: 0,
                bytes: 2 * n(elements) * each,
            },
            Self::ViewOnHost { elements } => Work {
                flops: 0,
                bytes: n(elements) * each,
            },
            Self::Attention {
                batch,
                heads,
                queries,
                keys,
                head,
                causal,
            } => {
                // Two products of head multiplications and additions for every pair of a query and a key it sees.
                let pairs = if causal {
                    n(queries) * (n(keys) - n(queries)) + n(queries) * (n(queries) + 1) / 2
                } else {
                    n(queries) * n(keys)
                };
                let rows = 2 * n(queries) + 2 * n(keys);
                Work {
                    flops: 4 * n(batch) * n(heads) * pairs * n(head),
                    bytes: n(batch) * n(heads) * rows * n(head) * each,
                }
            }
            Self::LayerNorm { rows, columns } => Work {
                flops: 0,
                bytes: (2 * n(rows) + 2) * n(columns) * each,
            },
            Self::Allocate { arrays, elements } => Work {
                flops: 0,
                bytes: n(arrays) * n(elements) * each,
            },
            Self::Train {
                batch,
                inputs,
                hidden,
                outputs,
            } => {
                let weights = n(inputs) * n(hidden) + n(hidden) * n(outputs);
                // Forward, gradient of the weights, and gradient of the hidden units (not of the inputs).
                let products = 2 * weights + n(hidden) * n(outputs);
                Work {
                    flops: 2 * n(batch) * products,
                    bytes: (3 * weights + n(batch) * (n(inputs) + n(outputs))) * each,
                }
            }
            Self::QuantizedMatmul {
                tokens,
                inputs,
                outputs,
                bits,
                group,
            } => {
                let weights = n(inputs) * n(outputs);
                let packed = weights * n(bits) / 8 + weights / n(group) * 2 * each;
                Work {
                    flops: 2 * n(tokens) * weights,
                    bytes: packed + n(tokens) * (n(inputs) + n(outputs)) * each,
                }
            }
            Self::Linear {
                tokens,
                inputs,
                outputs,
            } => Work {
                flops: 2 * n(tokens) * n(inputs) * n(outputs),
                bytes: (n(inputs) * n(outputs) + n(tokens) * (n(inputs) + n(outputs))) * each,
            },
        }
    }

    /// What one call processes, where a rate of that is what people ask for.
    #[must_use]
    pub fn samples(&self) -> Option<u64> {
        match *self {
            Self::Train { batch, .. } => Some(batch as u64),
            _ => None,
        }
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Matmul { size } => write!(out, "matmul {size}²"),
            Self::Elementwise {
                operation,
                rows,
                columns,
            } => {
                let name = match operation {
                    Elementwise::Add => "add",
                    Elementwise::Multiply => "multiply",
                    Elementwise::Relu => "relu",
                    Elementwise::Softmax => "softmax",
                };
                write!(out, "{name} {rows}×{columns}")
            }
            Self::CopyToHost { elements } => write!(out, "copy to host, {elements} elements"),
            Self::ViewOnHost { elements } => write!(out, "view on host, {elements} elements"),
            Self::Attention {
                batch,
                heads,
                queries,
                keys,
                head,
                causal,
            } => {
                let mask = if causal { ", causal" } else { "" };
                write!(
                    out,
                    "attention {batch}×{heads}×{queries}×{head} over {keys} keys{mask}"
                )
            }
            Self::LayerNorm { rows, columns } => write!(out, "layer norm {rows}×{columns}"),
            Self::Allocate { arrays, elements } => {
                write!(out, "allocate {arrays} × {elements} elements")
            }
            Self::Train {
                batch,
                inputs,
                hidden,
                outputs,
            } => {
                write!(out, "train {inputs}-{hidden}-{outputs}, batch {batch}")
            }
            Self::QuantizedMatmul {
                tokens,
                inputs,
                outputs,
                bits,
                group,
            } => {
                write!(
                    out,
                    "int{bits} g{group}, {tokens}×{inputs} · {inputs}×{outputs}"
                )
            }
            Self::Linear {
                tokens,
                inputs,
                outputs,
            } => {
                write!(out, "plain, {tokens}×{inputs} · {inputs}×{outputs}")
            }
        }
    }
}

/// An array of a prepared kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operand {
    /// Input number *n*, in the order of the kernel's documentation.
    Input(usize),
    /// The result of the last call.
    Result,
}

/// A kernel with its operands in place.
pub trait Prepared {
    /// Calls the kernel `calls` times, one after the other, and returns when the last result is there.
    ///
    /// # Errors
    /// What the backend says.
    fn run(&mut self, calls: usize) -> Result<(), BackendError>;

    /// Reads `count` elements of an array as laid out in memory, `stride` apart, from element `from` on. Quantized
    /// weights are inputs 1 (packed 32-bit words), 2 (scales) and 3 (biases).
    ///
    /// # Errors
    /// When there is no such array, or what the backend says.
    fn read(
        &mut self,
        operand: Operand,
        from: usize,
        stride: usize,
        count: usize,
    ) -> Result<Vec<f64>, BackendError>;
}

/// A backend that has kernels.
pub trait Kernels {
    /// Makes the operands of a kernel from `seed`, different for every seed.
    ///
    /// # Errors
    /// [`BackendError::NoKernel`] when the backend does not have it, or what the backend says.
    fn prepare(
        &mut self,
        kernel: &Kernel,
        number: Number,
        seed: u64,
    ) -> Result<Box<dyn Prepared>, BackendError>;

    /// Whether freed memory is kept for reuse. Whether the backend can choose.
    ///
    /// # Errors
    /// What the backend says.
    fn keep_freed(&mut self, keep: bool) -> Result<bool, BackendError>;

    /// The device that runs them.
    ///
    /// # Errors
    /// When the backend cannot tell.
    fn device(&self) -> Result<DeviceInfo, BackendError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The baseline's own figures: 2·8192³ operations in 166.61 ms are 6599 GFLOPS, and add moves three arrays.
    #[test]
    fn work_is_counted_from_shapes() {
        let matmul = Kernel::Matmul { size: 8192 }.work(Number::Fp32);
        let gigaflops = matmul.flops as f64 / 0.166_61 / 1e9;
        assert!((gigaflops - 6599.0).abs() < 1.0, "{gigaflops}");
        let add = Kernel::Elementwise {
            operation: Elementwise::Add,
            rows: 8192,
            columns: 8192,
        };
        assert_eq!(add.work(Number::Fp32).bytes, 3 * 8192 * 8192 * 4);
        assert_eq!(add.work(Number::Bf16).bytes, 3 * 8192 * 8192 * 2);
    }

    #[test]
    fn causal_attention_counts_the_pairs_that_are_seen() {
        let attention = |queries, keys, causal| {
            Kernel::Attention {
                batch: 1,
                heads: 1,
                queries,
                keys,
                head: 1,
                causal,
            }
            .work(Number::Fp32)
            .flops
        };
        assert_eq!(attention(3, 5, true), 4 * (3 + 4 + 5));
        assert_eq!(attention(3, 5, false), 4 * 15);
    }

    /// 4.5 bits a weight at 4 bits in groups of 64 with 16-bit scales and biases.
    #[test]
    fn quantized_weights_count_their_scales() {
        let kernel = Kernel::QuantizedMatmul {
            tokens: 0,
            inputs: 4096,
            outputs: 4096,
            bits: 4,
            group: 64,
        };
        assert_eq!(kernel.work(Number::Bf16).bytes, 4096 * 4096 * 9 / 16);
    }
}
