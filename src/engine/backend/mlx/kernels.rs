//! Kernels on MLX's default device.

use super::mlx_rs::fast::{
    ScaledDotProductAttentionMask, layer_norm, scaled_dot_product_attention,
};
use super::mlx_rs::ops::{quantize, quantized_matmul};
use super::mlx_rs::transforms::{async_eval, value_and_grad_with_argnums};
use super::mlx_rs::{Array, Dtype, error::Exception, memory, nn, ops, random};
use super::sys;
use crate::engine::backend::kernels::{Elementwise, Kernel, Kernels, Number, Operand, Prepared};
use crate::engine::backend::{BackendError, DeviceInfo};

/// Weights of a layer are copied until they exceed this, and taken in turns, so that no cache of a GPU serves what a
/// model would stream from memory.
const TURNS_BYTES: usize = 256 << 20;
/// The most copies.
const TURNS_MAX: usize = 64;
/// Added to the variance by the layer norm.
pub(crate) const LAYER_NORM_EPSILON: f32 = 1e-5;
/// The step of the training kernel.
pub(crate) const LEARNING_RATE: f32 = 0.01;

/// MLX as a place to run kernels.
pub(crate) struct MlxKernels {
    cache_limit: usize,
}

impl MlxKernels {
    pub(crate) fn new() -> Result<Self, BackendError> {
        // The limit can only be read by setting it.
        let cache_limit = memory::set_cache_limit(0)?;
        memory::set_cache_limit(cache_limit)?;
        Ok(Self { cache_limit })
    }
}

fn dtype(number: Number) -> Dtype {
    match number {
        Number::Fp32 => Dtype::Float32,
        Number::Bf16 => Dtype::Bfloat16,
    }
}

fn dimension(value: usize) -> Result<i32, BackendError> {
    i32::try_from(value).map_err(|_| BackendError::BlockSize {
        bytes: value as u64,
        accepted: "a dimension below 2147483648",
    })
}

fn shape<const N: usize>(sides: [usize; N]) -> Result<[i32; N], BackendError> {
    let mut out = [0; N];
    for (side, place) in sides.into_iter().zip(&mut out) {
        *place = dimension(side)?;
    }
    Ok(out)
}

/// Makes normally distributed arrays, one after the other.
struct Source {
    seed: u64,
    number: Number,
}

impl Source {
    fn normal(&mut self, sides: &[i32]) -> Result<Array, BackendError> {
        let key = random::key(self.seed)?;
        self.seed = self.seed.wrapping_add(1);
        let array = random::normal::<f32>(sides, None, None, &key)?.as_dtype(dtype(self.number))?;
        array.eval()?;
        Ok(array)
    }

    /// Scaled down so that sums over `inputs` stay near 1, as weights of a trained layer do.
    fn weights(&mut self, outputs: i32, inputs: i32) -> Result<Array, BackendError> {
        let scale = Array::from_f32((1.0 / f64::from(inputs).sqrt()) as f32)
            .as_dtype(dtype(self.number))?;
        let array = ops::multiply(self.normal(&[outputs, inputs])?, scale)?;
        array.eval()?;
        Ok(array)
    }
}

type Step = Box<dyn FnMut(&mut Vec<Array>, usize) -> Result<Vec<Array>, BackendError>>;

/// Operands and what is done with them.
struct Operands {
    inputs: Vec<Array>,
    step: Step,
    results: Vec<Array>,
    calls: usize,
}

impl Kernels for MlxKernels {
    fn prepare(
        &mut self,
        kernel: &Kernel,
        number: Number,
        seed: u64,
    ) -> Result<Box<dyn Prepared>, BackendError> {
        let mut source = Source { seed, number };
        let (inputs, step) = build(kernel, number, &mut source)?;
        sys::synchronize()?;
        Ok(Box::new(Operands {
            inputs,
            step,
            results: Vec::new(),
            calls: 0,
        }))
    }

    fn keep_freed(&mut self, keep: bool) -> Result<bool, BackendError> {
        memory::set_cache_limit(if keep { self.cache_limit } else { 0 })?;
        memory::clear_cache()?;
        Ok(true)
    }

    fn device(&self) -> Result<DeviceInfo, BackendError> {
        sys::default_device()
    }
}

impl Prepared for Operands {
    fn run(&mut self, calls: usize) -> Result<(), BackendError> {
        for _ in 0..calls {
            let results = (self.step)(&mut self.inputs, self.calls)?;
            async_eval(&results)?;
            // The last results are dropped here, in time for their memory to be used again.
            self.results = results;
            self.calls += 1;
        }
        // Some backends queue: what was asked for is done only after both.
        for result in &self.results {
            result.eval()?;
        }
        sys::synchronize()
    }

    fn read(
        &mut self,
        operand: Operand,
        from: usize,
        stride: usize,
        count: usize,
    ) -> Result<Vec<f64>, BackendError> {
        let array = match operand {
            Operand::Input(index) => self.inputs.get(index),
            Operand::Result => self.results.first(),
        };
        let array = array.ok_or(BackendError::NoSuchBlock {
            index: 0,
            held: self.results.len(),
        })?;
        let indices: Result<Vec<u32>, _> = (0..count)
            .map(|i| u32::try_from(from + i * stride))
            .collect();
        let indices = indices.map_err(|_| BackendError::BlockSize {
            bytes: from as u64,
            accepted: "an element below 4294967296",
        })?;
        let indices = Array::from_slice(&indices, &[dimension(count)?]);
        let picked = array.flatten(None, None)?.take(&indices)?;
        if array.dtype() == Dtype::Uint32 {
            let picked = picked.contiguous()?;
            return Ok(picked
                .try_as_slice::<u32>()?
                .iter()
                .map(|word| f64::from(*word))
                .collect());
        }
        let picked = picked.as_dtype(Dtype::Float32)?.contiguous()?;
        Ok(picked
            .try_as_slice::<f32>()?
            .iter()
            .map(|value| f64::from(*value))
            .collect())
    }
}

/// The operands of a kernel, and what one call does with them.
fn build(
    kernel: &Kernel,
    number: Number,
    source: &mut Source,
) -> Result<(Vec<Array>, Step), BackendError> {
    Ok(match *kernel {
        Kernel::Matmul { size } => {
            let sides = shape([size, size])?;
            let inputs = vec![source.normal(&sides)?, source.normal(&sides)?];
            (inputs, one(|inputs| ops::matmul(&inputs[0], &inputs[1])))
        }
        Kernel::Elementwise {
            operation,
            rows,
            columns,
        } => {
            let sides = shape([rows, columns])?;
            let inputs = vec![source.normal(&sides)?, source.normal(&sides)?];
            let step = match operation {
                Elementwise::Add => one(|inputs| ops::add(&inputs[0], &inputs[1])),
                Elementwise::Multiply => one(|inputs| ops::multiply(&inputs[0], &inputs[1])),
                Elementwise::Relu => one(|inputs| nn::relu(&inputs[0])),
                Elementwise::Softmax => one(|inputs| ops::softmax_axis(&inputs[0], -1, true)),
            };
            (inputs, step)
        }
        Kernel::CopyToHost { elements } => {
            (vec![source.normal(&shape([elements])?)?], on_host(true))
        }
        Kernel::ViewOnHost { elements } => {
            (vec![source.normal(&shape([elements])?)?], on_host(false))
        }
        Kernel::Attention {
            batch,
            heads,
            queries,
            keys,
            head,
            causal,
        } => {
            let few = shape([batch, heads, queries, head])?;
            let many = shape([batch, heads, keys, head])?;
            let inputs = vec![
                source.normal(&few)?,
                source.normal(&many)?,
                source.normal(&many)?,
            ];
            let scale = (1.0 / (head as f64).sqrt()) as f32;
            let step = one(move |inputs: &[Array]| {
                let mask = causal.then_some(ScaledDotProductAttentionMask::Causal);
                scaled_dot_product_attention(&inputs[0], &inputs[1], &inputs[2], scale, mask, None)
            });
            (inputs, step)
        }
        Kernel::LayerNorm { rows, columns } => {
            let [rows, columns] = shape([rows, columns])?;
            let inputs = vec![
                source.normal(&[rows, columns])?,
                source.normal(&[columns])?,
                source.normal(&[columns])?,
            ];
            let step = one(|inputs: &[Array]| {
                layer_norm(&inputs[0], &inputs[1], &inputs[2], LAYER_NORM_EPSILON)
            });
            (inputs, step)
        }
        Kernel::Allocate { arrays, elements } => {
            let sides = shape([elements])?;
            let step: Step = Box::new(move |_, _| {
                let ones: Result<Vec<Array>, Exception> = (0..arrays)
                    .map(|_| ops::ones_dtype(&sides, dtype(number)))
                    .collect();
                Ok(ones?)
            });
            (Vec::new(), step)
        }
        Kernel::Train {
            batch,
            inputs,
            hidden,
            outputs,
        } => {
            let [batch, inputs, hidden, outputs] = shape([batch, inputs, hidden, outputs])?;
            let arrays = vec![
                source.normal(&[batch, inputs])?,
                source.normal(&[batch, outputs])?,
                source.weights(hidden, inputs)?,
                source.weights(outputs, hidden)?,
            ];
            (arrays, training(number)?)
        }
        Kernel::QuantizedMatmul {
            tokens,
            inputs,
            outputs,
            bits,
            group,
        } => {
            let [tokens, inputs, outputs, bits, group] =
                shape([tokens, inputs, outputs, bits, group])?;
            let mut arrays = vec![source.normal(&[tokens, inputs])?];
            let (packed, scales, biases) =
                quantize(&source.weights(outputs, inputs)?, group, bits)?;
            let bytes = packed.nbytes() + scales.nbytes() + biases.nbytes();
            arrays.extend([packed, scales, biases]);
            let turns = copies(&mut arrays, 1, bytes)?;
            let step: Step = Box::new(move |arrays, call| {
                let at = 1 + 3 * (call % turns);
                let (x, w) = (&arrays[0], &arrays[at]);
                Ok(vec![quantized_matmul(
                    x,
                    w,
                    &arrays[at + 1],
                    &arrays[at + 2],
                    true,
                    group,
                    bits,
                )?])
            });
            (arrays, step)
        }
        Kernel::Linear {
            tokens,
            inputs,
            outputs,
        } => {
            let [tokens, inputs, outputs] = shape([tokens, inputs, outputs])?;
            let weights = source.weights(outputs, inputs)?;
            let bytes = weights.nbytes();
            let mut arrays = vec![source.normal(&[tokens, inputs])?, weights];
            let turns = copies(&mut arrays, 1, bytes)?;
            let step: Step = Box::new(move |arrays, call| {
                Ok(vec![ops::matmul(
                    &arrays[0],
                    arrays[1 + call % turns].transpose()?,
                )?])
            });
            (arrays, step)
        }
    })
}

/// A step that makes one array.
fn one(step: impl Fn(&[Array]) -> Result<Array, Exception> + 'static) -> Step {
    Box::new(move |inputs, _| Ok(vec![step(inputs)?]))
}

/// Appends copies of the arrays from `first` on until `bytes` of each add up to more than a cache holds. Returns how
/// many sets there are.
fn copies(arrays: &mut Vec<Array>, first: usize, bytes: usize) -> Result<usize, BackendError> {
    let turns = (TURNS_BYTES / bytes.max(1) + 1).min(TURNS_MAX);
    let set: Vec<Array> = arrays[first..].to_vec();
    for _ in 1..turns {
        for array in &set {
            // Adding zero makes an array of its own, where a clone would be another name for the same memory.
            let copy = ops::add(array, Array::from_int(0).as_dtype(array.dtype())?)?;
            copy.eval()?;
            arrays.push(copy);
        }
    }
    Ok(turns)
}

/// Makes a fresh array on the device and takes it to the host, or reads it there.
fn on_host(copy: bool) -> Step {
    let mut place: Vec<u8> = Vec::new();
    Box::new(move |inputs, _| {
        // Nothing is computed anew: only a new array is made, whose host address is asked for the first time.
        let fresh = ops::add(&inputs[0], Array::from_int(0).as_dtype(inputs[0].dtype())?)?;
        fresh.eval()?;
        sys::synchronize()?;
        let bytes = sys::bytes(&fresh)?;
        if copy {
            place.clear();
            place.extend_from_slice(bytes);
        } else {
            let sum = bytes
                .as_chunks::<8>()
                .0
                .iter()
                .fold(0_u64, |sum, word| sum ^ u64::from_le_bytes(*word));
            std::hint::black_box(sum);
        }
        Ok(vec![fresh])
    })
}

/// One step of gradient descent. Inputs: x (batch, inputs), target (batch, outputs), and the two layers' weights, which
/// the step replaces. The result is the loss before the step.
fn training(number: Number) -> Result<Step, BackendError> {
    let rate = Array::from_f32(LEARNING_RATE).as_dtype(dtype(number))?;
    Ok(Box::new(move |arrays, _| {
        let loss = |arrays: &[Array]| -> Result<Vec<Array>, Exception> {
            let hidden = nn::relu(ops::matmul(&arrays[0], arrays[2].transpose()?)?)?;
            let difference =
                ops::subtract(ops::matmul(hidden, arrays[3].transpose()?)?, &arrays[1])?;
            Ok(vec![ops::multiply(&difference, &difference)?.mean(None)?])
        };
        let (losses, gradients) = value_and_grad_with_argnums(loss, &[2, 3][..])(arrays)?;
        for (weights, gradient) in arrays[2..].iter_mut().zip(gradients) {
            *weights = ops::subtract(&*weights, ops::multiply(gradient, &rate)?)?;
        }
        let mut results = losses;
        results.extend_from_slice(&arrays[2..]);
        Ok(results)
    }))
}
