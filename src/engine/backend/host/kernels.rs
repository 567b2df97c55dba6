//! Kernels of the host: those that measure its memory, and a plain matrix product, all cores, 32-bit numbers.

use std::num::NonZero;
use std::thread;

use crate::engine::backend::kernels::{Elementwise, Kernel, Kernels, Number, Operand, Prepared};
use crate::engine::backend::{BackendError, BackendKind, DeviceInfo, Memory};

use super::HostMemory;

/// Rows of the right operand that are taken at a time: as many as stay in a second-level cache.
const PANEL_ROWS: usize = 64;

/// The host as a place to run kernels.
pub(crate) struct HostKernels {
    threads: usize,
}

impl HostKernels {
    pub(crate) fn new() -> Self {
        Self {
            threads: thread::available_parallelism().map_or(1, NonZero::get),
        }
    }
}

struct Operands {
    kernel: Kernel,
    threads: usize,
    inputs: Vec<Vec<f32>>,
    result: Vec<f32>,
}

impl Kernels for HostKernels {
    fn prepare(
        &mut self,
        kernel: &Kernel,
        number: Number,
        seed: u64,
    ) -> Result<Box<dyn Prepared>, BackendError> {
        let lengths: &[usize] = match *kernel {
            Kernel::Matmul { size } => &[size * size, size * size],
            Kernel::Elementwise {
                operation: Elementwise::Add | Elementwise::Multiply,
                rows,
                columns,
            } => &[rows * columns, rows * columns],
            Kernel::Elementwise { rows, columns, .. } => &[rows * columns],
            Kernel::CopyToHost { elements } | Kernel::ViewOnHost { elements } => &[elements],
            Kernel::Allocate { .. } => &[],
            _ => return Err(no_kernel(kernel, number)),
        };
        if number != Number::Fp32 {
            return Err(no_kernel(kernel, number));
        }
        let inputs: Vec<_> = (0..)
            .zip(lengths)
            .map(|(index, length)| random(*length, seed.wrapping_add(index)))
            .collect();
        let result = vec![0.0; lengths.first().copied().unwrap_or(0)];
        Ok(Box::new(Operands {
            kernel: *kernel,
            threads: self.threads,
            inputs,
            result,
        }))
    }

    fn keep_freed(&mut self, _keep: bool) -> Result<bool, BackendError> {
        Ok(false)
    }

    fn device(&self) -> Result<DeviceInfo, BackendError> {
        HostMemory::new().device()
    }
}

fn no_kernel(kernel: &Kernel, number: Number) -> BackendError {
    BackendError::NoKernel {
        backend: BackendKind::Host,
        kernel: format!("{kernel} in {}", number.name()),
    }
}

/// Numbers from −1 to 1.
fn random(length: usize, seed: u64) -> Vec<f32> {
    let mut bytes = vec![0; length * 4];
    super::fill(&mut bytes, seed, 1);
    let words = bytes.as_chunks::<4>().0.iter();
    words
        .map(|word| (f64::from(i32::from_le_bytes(*word)) / f64::from(i32::MAX)) as f32)
        .collect()
}

impl Prepared for Operands {
    fn run(&mut self, calls: usize) -> Result<(), BackendError> {
        for _ in 0..calls {
            self.call();
        }
        Ok(())
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
            Operand::Result => Some(&self.result),
        };
        let held = self.inputs.len();
        let array = array.ok_or(BackendError::NoSuchBlock { index: held, held })?;
        Ok((0..count)
            .filter_map(|i| array.get(from + i * stride))
            .map(|value| f64::from(*value))
            .collect())
    }
}

impl Operands {
    fn call(&mut self) {
        let threads = self.threads;
        match self.kernel {
            Kernel::Matmul { size } => {
                multiply(
                    &self.inputs[0],
                    &self.inputs[1],
                    &mut self.result,
                    size,
                    threads,
                );
            }
            Kernel::Elementwise {
                operation, columns, ..
            } => {
                let second = self.inputs.get(1).unwrap_or(&self.inputs[0]);
                elementwise(
                    operation,
                    &self.inputs[0],
                    second,
                    &mut self.result,
                    columns,
                    threads,
                );
            }
            Kernel::CopyToHost { .. } => {
                let share = self.result.len().div_ceil(threads).max(1);
                thread::scope(|scope| {
                    for (to, from) in self
                        .result
                        .chunks_mut(share)
                        .zip(self.inputs[0].chunks(share))
                    {
                        scope.spawn(|| to.copy_from_slice(from));
                    }
                });
            }
            Kernel::ViewOnHost { .. } => {
                let share = self.inputs[0].len().div_ceil(threads).max(1);
                thread::scope(|scope| {
                    for part in self.inputs[0].chunks(share) {
                        scope.spawn(|| {
                            let sum = part.iter().fold(0_u32, |sum, value| sum ^ value.to_bits());
                            std::hint::black_box(sum)
                        });
                    }
                });
            }
            Kernel::Allocate { arrays, elements } => {
                let all: Vec<Vec<f32>> = (0..arrays).map(|_| vec![1.0; elements]).collect();
                self.result = vec![std::hint::black_box(&all)[arrays - 1][elements - 1]];
            }
            _ => {}
        }
    }
}

/// Row by row over panels of the right operand, the inner loop along its rows, which the compiler makes vectors of.
fn multiply(a: &[f32], b: &[f32], out: &mut [f32], size: usize, threads: usize) {
    let rows = size.div_ceil(threads).max(1);
    thread::scope(|scope| {
        for (a, out) in a.chunks(rows * size).zip(out.chunks_mut(rows * size)) {
            scope.spawn(move || {
                out.fill(0.0);
                for (panel, first) in b.chunks(PANEL_ROWS * size).zip((0..).step_by(PANEL_ROWS)) {
                    for (a, out) in a.chunks_exact(size).zip(out.chunks_exact_mut(size)) {
                        for (factor, row) in a[first..].iter().zip(panel.chunks_exact(size)) {
                            for (sum, value) in out.iter_mut().zip(row) {
                                *sum += factor * value;
                            }
                        }
                    }
                }
            });
        }
    });
}

fn elementwise(
    operation: Elementwise,
    a: &[f32],
    b: &[f32],
    out: &mut [f32],
    columns: usize,
    threads: usize,
) {
    let share = (out.len() / columns.max(1)).div_ceil(threads).max(1) * columns;
    thread::scope(|scope| {
        for ((a, b), out) in a
            .chunks(share)
            .zip(b.chunks(share))
            .zip(out.chunks_mut(share))
        {
            scope.spawn(move || match operation {
                Elementwise::Add => each(a, b, out, |a, b| a + b),
                Elementwise::Multiply => each(a, b, out, |a, b| a * b),
                Elementwise::Relu => each(a, b, out, |a, _| a.max(0.0)),
                Elementwise::Softmax => {
                    for (a, out) in a.chunks_exact(columns).zip(out.chunks_exact_mut(columns)) {
                        softmax(a, out);
                    }
                }
            });
        }
    });
}

fn each(a: &[f32], b: &[f32], out: &mut [f32], operation: impl Fn(f32, f32) -> f32) {
    for ((a, b), out) in a.iter().zip(b).zip(out) {
        *out = operation(*a, *b);
    }
}

fn softmax(a: &[f32], out: &mut [f32]) {
    let largest = a.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for (value, out) in a.iter().zip(out.iter_mut()) {
        *out = (value - largest).exp();
        sum += *out;
    }
    for out in out {
        *out /= sum;
    }
}
