//! Every kernel of every built-in backend passes, and a wrong result does not.

use super::*;
use crate::engine::backend::{BackendKind, kernels};

/// Every kind of kernel, small.
fn small() -> Vec<Kernel> {
    let elementwise = |operation| Kernel::Elementwise {
        operation,
        rows: 65,
        columns: 130,
    };
    vec![
        Kernel::Matmul { size: 130 },
        elementwise(Elementwise::Add),
        elementwise(Elementwise::Multiply),
        elementwise(Elementwise::Relu),
        elementwise(Elementwise::Softmax),
        Kernel::CopyToHost { elements: 1000 },
        Kernel::ViewOnHost { elements: 1000 },
        Kernel::Attention {
            batch: 2,
            heads: 3,
            queries: 33,
            keys: 33,
            head: 64,
            causal: false,
        },
        Kernel::Attention {
            batch: 1,
            heads: 2,
            queries: 16,
            keys: 70,
            head: 64,
            causal: true,
        },
        Kernel::LayerNorm {
            rows: 40,
            columns: 96,
        },
        Kernel::Allocate {
            arrays: 3,
            elements: 1000,
        },
        Kernel::Train {
            batch: 32,
            inputs: 20,
            hidden: 16,
            outputs: 4,
        },
        Kernel::QuantizedMatmul {
            tokens: 3,
            inputs: 256,
            outputs: 128,
            bits: 4,
            group: 64,
        },
        Kernel::QuantizedMatmul {
            tokens: 1,
            inputs: 256,
            outputs: 128,
            bits: 8,
            group: 64,
        },
        Kernel::Linear {
            tokens: 2,
            inputs: 256,
            outputs: 128,
        },
    ]
}

fn checked(kind: BackendKind, number: Number) -> usize {
    let mut backend = kernels(kind).unwrap();
    let mut passed = 0;
    for kernel in small() {
        let mut prepared = match backend.prepare(&kernel, number, 5) {
            Ok(prepared) => prepared,
            Err(BackendError::NoKernel { .. }) => continue,
            Err(error) => panic!("{kernel}: {error}"),
        };
        let check = check(prepared.as_mut(), &kernel, number, 9).unwrap();
        assert!(
            check.passed() && check.places > 0,
            "{kernel} in {}: {check:?}",
            number.name()
        );
        passed += 1;
    }
    passed
}

#[test]
fn the_hosts_kernels_agree_with_the_reference() {
    assert_eq!(checked(BackendKind::Host, Number::Fp32), 8);
    assert_eq!(checked(BackendKind::Host, Number::Bf16), 0);
}

#[cfg(mlx)]
#[test]
fn mlx_agrees_with_the_reference() {
    assert_eq!(checked(BackendKind::Mlx, Number::Fp32), small().len());
    assert_eq!(checked(BackendKind::Mlx, Number::Bf16), small().len());
}

/// Spoils one operand's reading: the result no longer belongs to it.
struct Spoiled(Box<dyn Prepared>);
impl Prepared for Spoiled {
    fn run(&mut self, calls: usize) -> Result<(), BackendError> {
        self.0.run(calls)
    }

    fn read(
        &mut self,
        operand: Operand,
        from: usize,
        stride: usize,
        count: usize,
    ) -> Result<Vec<f64>, BackendError> {
        let mut values = self.0.read(operand, from, stride, count)?;
        if operand == Operand::Result {
            values
                .iter_mut()
                .for_each(|value| *value = *value * 1.2 + 0.1);
        }
        Ok(values)
    }
}

#[test]
fn wrong_results_are_found() {
    let mut backend = kernels(BackendKind::built_in()).unwrap();
    let mut tried = 0;
    for kernel in small() {
        let Ok(prepared) = backend.prepare(&kernel, Number::Fp32, 5) else {
            continue;
        };
        // The host's view and an allocation leave no result to compare.
        if matches!(kernel, Kernel::ViewOnHost { .. } | Kernel::Allocate { .. }) {
            continue;
        }
        let check = check(&mut Spoiled(prepared), &kernel, Number::Fp32, 9).unwrap();
        assert!(!check.passed(), "{kernel}: {check:?}");
        tried += 1;
    }
    assert!(tried >= 6, "{tried}");
}

#[test]
fn a_result_that_is_no_number_is_wrong() {
    let mut errors = Errors::default();
    errors.add(f64::NAN, 1.0, 1.0);
    errors.add(1.0, 1.0, 1.0);
    assert_eq!(errors.largest, f64::INFINITY);
}
