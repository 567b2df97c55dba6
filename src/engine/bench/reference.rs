//! Checks a kernel's result against the same computation in 64-bit numbers, at places drawn at random.

use serde::{Deserialize, Serialize};

use crate::engine::backend::BackendError;
use crate::engine::backend::kernels::{Elementwise, Kernel, Number, Operand, Prepared};

/// What a check found.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// The largest error seen, as a share of the size that the result has by its operands' size.
    pub error_max: f64,
    /// The largest error that passes.
    pub tolerance: f64,
    /// Elements compared.
    pub places: usize,
}

impl Check {
    /// Whether every element compared is near enough.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.error_max <= self.tolerance
    }
}

/// Added to the variance by the layer norm, as the backends do.
const LAYER_NORM_EPSILON: f64 = 1e-5;
/// The step of the training kernel, as the backends take it.
const LEARNING_RATE: f64 = 0.01;
/// Elements of a product that are compared.
const PRODUCTS: usize = 24;
/// Elements of an element-wise result that are compared.
const ELEMENTS: usize = 64;
/// Rows of a row-wise result that are compared.
const ROWS: usize = 4;

/// Draws places.
struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % bound.max(1)
    }
}

/// Collects errors.
#[derive(Default)]
struct Errors {
    largest: f64,
    places: usize,
}

impl Errors {
    fn add(&mut self, found: f64, expected: f64, scale: f64) {
        let error = (found - expected).abs() / scale.max(f64::MIN_POSITIVE);
        // Not `max`, which would lose a result that is no number.
        if error.is_nan() || error > self.largest {
            self.largest = if error.is_nan() { f64::INFINITY } else { error };
        }
        self.places += 1;
    }
}

/// Runs `kernel` once and compares its result. `seed` draws the places.
///
/// # Errors
/// What the backend says.
pub fn check(
    prepared: &mut dyn Prepared,
    kernel: &Kernel,
    number: Number,
    seed: u64,
) -> Result<Check, BackendError> {
    let mut errors = Errors::default();
    let mut draw = Draw(seed);
    if let Kernel::Train {
        batch,
        inputs,
        hidden,
        outputs,
    } = *kernel
    {
        training(
            prepared,
            [batch, inputs, hidden, outputs],
            &mut draw,
            &mut errors,
        )?;
    } else {
        prepared.run(1)?;
        compare(prepared, kernel, &mut draw, &mut errors)?;
    }
    Ok(Check {
        error_max: errors.largest,
        tolerance: tolerance(kernel, number),
        places: errors.places,
    })
}

/// Products of 32-bit numbers may go through tensor cores that keep 11 bits (TF32): errors of 2⁻¹¹ a factor, which add
/// up like the products themselves. A 16-bit result is rounded to 8 bits, and so are intermediate probabilities.
fn tolerance(kernel: &Kernel, number: Number) -> f64 {
    let product = match kernel {
        Kernel::Elementwise {
            operation: Elementwise::Softmax,
            ..
        }
        | Kernel::LayerNorm { .. } => false,
        Kernel::Elementwise { .. }
        | Kernel::CopyToHost { .. }
        | Kernel::ViewOnHost { .. }
        | Kernel::Allocate { .. } => {
            return match number {
                Number::Fp32 => 1e-6,
                Number::Bf16 => 1.0 / 256.0,
            };
        }
        _ => true,
    };
    match (number, product) {
        (Number::Fp32, true) => 4e-3,
        (Number::Fp32, false) => 1e-4,
        (Number::Bf16, true) => 4e-2,
        (Number::Bf16, false) => 2e-2,
    }
}

fn compare(
    prepared: &mut dyn Prepared,
    kernel: &Kernel,
    draw: &mut Draw,
    errors: &mut Errors,
) -> Result<(), BackendError> {
    match *kernel {
        Kernel::Matmul { size } => {
            for _ in 0..PRODUCTS {
                let (row, column) = (draw.below(size), draw.below(size));
                let left = prepared.read(Operand::Input(0), row * size, 1, size)?;
                let right = prepared.read(Operand::Input(1), column, size, size)?;
                product(prepared, &left, &right, row * size + column, errors)?;
            }
        }
        Kernel::Linear {
            tokens,
            inputs,
            outputs,
        } => {
            for _ in 0..PRODUCTS {
                let (row, column) = (draw.below(tokens), draw.below(outputs));
                let left = prepared.read(Operand::Input(0), row * inputs, 1, inputs)?;
                let right = prepared.read(Operand::Input(1), column * inputs, 1, inputs)?;
                product(prepared, &left, &right, row * outputs + column, errors)?;
            }
        }
        Kernel::QuantizedMatmul {
            tokens,
            inputs,
            outputs,
            bits,
            group,
        } => {
            for _ in 0..PRODUCTS {
                let (row, column) = (draw.below(tokens), draw.below(outputs));
                let left = prepared.read(Operand::Input(0), row * inputs, 1, inputs)?;
                let right = dequantized(prepared, column, inputs, bits, group)?;
                product(prepared, &left, &right, row * outputs + column, errors)?;
            }
        }
        Kernel::Elementwise {
            operation: Elementwise::Softmax,
            rows,
            columns,
        } => {
            for _ in 0..ROWS {
                let row = draw.below(rows) * columns;
                let expected = softmax(&prepared.read(Operand::Input(0), row, 1, columns)?);
                let found = prepared.read(Operand::Result, row, 1, columns)?;
                for (found, expected) in found.iter().zip(&expected) {
                    errors.add(*found, *expected, *expected);
                }
            }
        }
        Kernel::Elementwise {
            operation,
            rows,
            columns,
        } => {
            for _ in 0..ELEMENTS {
                let place = draw.below(rows * columns);
                let a = element(prepared, Operand::Input(0), place)?;
                let expected = match operation {
                    Elementwise::Add => a + element(prepared, Operand::Input(1), place)?,
                    Elementwise::Multiply => a * element(prepared, Operand::Input(1), place)?,
                    Elementwise::Relu | Elementwise::Softmax => a.max(0.0),
                };
                let found = element(prepared, Operand::Result, place)?;
                // A sum of numbers that cancel is as exact as they are.
                errors.add(found, expected, expected.abs().max(a.abs()));
            }
        }
        Kernel::CopyToHost { elements } | Kernel::ViewOnHost { elements } => {
            for _ in 0..ELEMENTS {
                let place = draw.below(elements);
                let expected = element(prepared, Operand::Input(0), place)?;
                let found = match kernel {
                    // The host's view is read, not kept.
                    Kernel::ViewOnHost { .. } => expected,
                    _ => element(prepared, Operand::Result, place)?,
                };
                errors.add(found, expected, 1.0);
            }
        }
        Kernel::Attention {
            heads,
            batch,
            queries,
            keys,
            head,
            causal,
        } => {
            for _ in 0..ROWS {
                let (group, query) = (draw.below(batch * heads), draw.below(queries));
                let at = (group * queries + query) * head;
                let q = prepared.read(Operand::Input(0), at, 1, head)?;
                let seen = if causal {
                    keys - queries + query + 1
                } else {
                    keys
                };
                let k = prepared.read(Operand::Input(1), group * keys * head, 1, seen * head)?;
                let v = prepared.read(Operand::Input(2), group * keys * head, 1, seen * head)?;
                let expected = attention(&q, &k, &v);
                let found = prepared.read(Operand::Result, at, 1, head)?;
                let scale =
                    (expected.iter().map(|value| value * value).sum::<f64>() / head as f64).sqrt();
                for (found, expected) in found.iter().zip(&expected) {
                    errors.add(*found, *expected, scale);
                }
            }
        }
        Kernel::LayerNorm { rows, columns } => {
            let scale = prepared.read(Operand::Input(1), 0, 1, columns)?;
            let offset = prepared.read(Operand::Input(2), 0, 1, columns)?;
            for _ in 0..ROWS {
                let row = draw.below(rows) * columns;
                let x = prepared.read(Operand::Input(0), row, 1, columns)?;
                let found = prepared.read(Operand::Result, row, 1, columns)?;
                let mean = x.iter().sum::<f64>() / columns as f64;
                let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / columns as f64;
                let by = (variance + LAYER_NORM_EPSILON).sqrt();
                for (i, found) in found.iter().enumerate() {
                    let normal = (x[i] - mean) / by;
                    errors.add(
                        *found,
                        normal * scale[i] + offset[i],
                        1.0 + (normal * scale[i]).abs(),
                    );
                }
            }
        }
        Kernel::Allocate { elements, .. } => {
            // The host keeps one element of the last array, MLX the first array.
            let place = draw.below(elements);
            let found = prepared.read(Operand::Result, place, 1, 1)?;
            errors.add(found.first().copied().unwrap_or(1.0), 1.0, 1.0);
        }
        Kernel::Train { .. } => {}
    }
    Ok(())
}

fn element(
    prepared: &mut dyn Prepared,
    operand: Operand,
    place: usize,
) -> Result<f64, BackendError> {
    Ok(prepared
        .read(operand, place, 1, 1)?
        .first()
        .copied()
        .unwrap_or(f64::NAN))
}

/// Compares element `place` with the product of two vectors. A sum of n terms of random signs is about as large as the
/// root of the sum of their squares.
fn product(
    prepared: &mut dyn Prepared,
    left: &[f64],
    right: &[f64],
    place: usize,
    errors: &mut Errors,
) -> Result<(), BackendError> {
    let terms = || left.iter().zip(right).map(|(a, b)| a * b);
    let scale = terms().map(|term| term * term).sum::<f64>().sqrt();
    errors.add(
        element(prepared, Operand::Result, place)?,
        terms().sum(),
        scale,
    );
    Ok(())
}

/// One output's weights from MLX's affine form: 32-bit words hold weights from the lowest bits up, and a weight is
/// scale · value + bias of its group (mlx 0.32.2, `mlx/backend/cpu/quantized.cpp`).
fn dequantized(
    prepared: &mut dyn Prepared,
    output: usize,
    inputs: usize,
    bits: usize,
    group: usize,
) -> Result<Vec<f64>, BackendError> {
    let words = inputs * bits / 32;
    let packed = prepared.read(Operand::Input(1), output * words, 1, words)?;
    let scales = prepared.read(
        Operand::Input(2),
        output * inputs / group,
        1,
        inputs / group,
    )?;
    let biases = prepared.read(
        Operand::Input(3),
        output * inputs / group,
        1,
        inputs / group,
    )?;
    let per_word = 32 / bits;
    let weight = |index: usize| {
        let word = packed[index / per_word] as u64;
        let value = (word >> (bits * (index % per_word))) & ((1 << bits) - 1);
        scales[index / group] * value as f64 + biases[index / group]
    };
    Ok((0..inputs).map(weight).collect())
}

fn softmax(x: &[f64]) -> Vec<f64> {
    let largest = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = x.iter().map(|x| (x - largest).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.iter().map(|power| power / sum).collect()
}

/// One query over the keys and values it sees, each as long as the query.
fn attention(query: &[f64], keys: &[f64], values: &[f64]) -> Vec<f64> {
    let head = query.len();
    let scores: Vec<f64> = keys
        .chunks_exact(head)
        .map(|key| key.iter().zip(query).map(|(k, q)| k * q).sum::<f64>() / (head as f64).sqrt())
        .collect();
    let mut out = vec![0.0; head];
    for (share, value) in softmax(&scores).iter().zip(values.chunks_exact(head)) {
        for (out, value) in out.iter_mut().zip(value) {
            *out += share * value;
        }
    }
    out
}

/// The loss before a step, and some of the weights after it, from the gradient written out.
fn training(
    prepared: &mut dyn Prepared,
    [batch, inputs, hidden, outputs]: [usize; 4],
    draw: &mut Draw,
    errors: &mut Errors,
) -> Result<(), BackendError> {
    let x = prepared.read(Operand::Input(0), 0, 1, batch * inputs)?;
    let target = prepared.read(Operand::Input(1), 0, 1, batch * outputs)?;
    let first = prepared.read(Operand::Input(2), 0, 1, hidden * inputs)?;
    let second = prepared.read(Operand::Input(3), 0, 1, outputs * hidden)?;
    let times = |rows: &[f64], weights: &[f64], width: usize| -> Vec<f64> {
        let dot = |row: &[f64], column: &[f64]| row.iter().zip(column).map(|(a, b)| a * b).sum();
        rows.chunks_exact(width)
            .flat_map(|row| {
                weights
                    .chunks_exact(width)
                    .map(move |column| dot(row, column))
            })
            .collect()
    };
    let units: Vec<f64> = times(&x, &first, inputs)
        .iter()
        .map(|unit| unit.max(0.0))
        .collect();
    let difference: Vec<f64> = times(&units, &second, hidden)
        .iter()
        .zip(&target)
        .map(|(out, target)| out - target)
        .collect();
    let count = difference.len() as f64;
    let loss = difference.iter().map(|d| d * d).sum::<f64>() / count;
    prepared.run(1)?;
    errors.add(element(prepared, Operand::Result, 0)?, loss, loss);
    for _ in 0..PRODUCTS {
        let (output, unit) = (draw.below(outputs), draw.below(hidden));
        let gradient: f64 = (0..batch)
            .map(|sample| {
                2.0 / count * difference[sample * outputs + output] * units[sample * hidden + unit]
            })
            .sum();
        let place = output * hidden + unit;
        let expected = second[place] - LEARNING_RATE * gradient;
        let found = element(prepared, Operand::Input(3), place)?;
        errors.add(
            found,
            expected,
            second[place].abs().max((hidden as f64).sqrt().recip()),
        );
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests;
