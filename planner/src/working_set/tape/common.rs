//! Operations that most lists are made of.

use super::super::counted::Weights;
use super::{Buf, ONE, Out, Spec, Tape, Work};

impl Tape {
    /// Element-wise, over its own input.
    pub(in crate::working_set) fn over(&mut self, x: Buf) -> Buf {
        self.op(&[x], Out::Into(x), ONE)
    }

    /// A new array from one.
    pub(in crate::working_set) fn from(&mut self, x: Buf, elements: f64) -> Buf {
        self.op(&[x], Out::New(elements), ONE)
    }

    /// `a + b`, written over `b`.
    pub(in crate::working_set) fn add(&mut self, a: Buf, b: Buf) -> Buf {
        self.op(&[a, b], Out::Into(b), ONE)
    }

    /// A product with a weight matrix (`output`, `input`), rows × output, with a bias in place.
    pub(in crate::working_set) fn linear(
        &mut self,
        x: Buf,
        rows: f64,
        input: u64,
        output: u64,
        bias: bool,
    ) -> Buf {
        let elements = input as f64 * output as f64;
        let spec = Spec {
            weights: Weights::Matrix {
                elements,
                last: input,
            },
            flops: 2.0 * rows * elements,
            work: Work::Matrix,
            ..ONE
        };
        let y = self.op(&[x], Out::New(rows * output as f64), spec);
        if bias {
            self.op(&[y], Out::Into(y), Spec::weights(output as f64));
        }
        y
    }

    /// An RMS norm over `width` of `rows`; `shared` where its input is read again later, so that it is not donated.
    ///
    /// Without a kernel of its own (`mlx/fast.cpp`, fallback): single precision copy, square, mean, root, product.
    pub(in crate::working_set) fn norm(
        &mut self,
        x: Buf,
        rows: f64,
        width: u64,
        shared: bool,
    ) -> Buf {
        let elements = rows * width as f64;
        if self.rules.fused {
            let out = if shared {
                Out::New(elements)
            } else {
                Out::Into(x)
            };
            return self.op(&[x], out, Spec::weights(width as f64));
        }
        let single = self.item >= 4.0;
        let wide = if single {
            x
        } else {
            self.op(&[x], Out::NewOf(elements, 4.0), ONE)
        };
        let square = self.op(&[wide], Out::NewOf(elements, 4.0), ONE);
        let mean = self.op(&[square], Out::NewOf(rows, 4.0), Spec::kernels(2));
        self.over(mean);
        self.over(mean);
        let mut y = self.op(&[wide, mean], Out::NewOf(elements, 4.0), ONE);
        if !single {
            y = self.from(y, elements);
        }
        self.op(&[y], Out::Into(y), ONE.views(1))
    }

    /// Rotary embedding of `rotated` of `width` in each of `heads` (0: none).
    ///
    /// Without a kernel of its own (`mlx/fast.cpp`, fallback): cosine, sine, four products of half width, joined.
    pub(in crate::working_set) fn rope(
        &mut self,
        x: Buf,
        (tokens, rows): (u64, f64),
        heads: u64,
        width: u64,
        rotated: u64,
    ) -> Buf {
        if rotated == 0 {
            return x;
        }
        let elements = rows * heads as f64 * width as f64;
        let part = rotated < width;
        if self.rules.fused {
            return match (part, tokens) {
                (true, _) => self.op(&[x], Out::New(elements), Spec::kernels(2)),
                (false, 1) => self.over(x),
                (false, _) => self.from(x, elements),
            };
        }
        let angles = tokens as f64 * rotated as f64 / 2.0;
        let single = self.item >= 4.0;
        let theta = self.op(&[], Out::NewOf(angles, 4.0), Spec::kernels(6));
        let mut waves = [theta; 2];
        for wave in &mut waves {
            *wave = self.op(&[theta], Out::NewOf(angles, 4.0), ONE);
            if !single {
                *wave = self.from(*wave, angles);
            }
        }
        let half = rows * heads as f64 * rotated as f64 / 2.0;
        let mut halves = [theta; 2];
        for (i, joined) in halves.iter_mut().enumerate() {
            let a = self.op(
                &[x, waves[i]],
                Out::New(half),
                ONE.views(if i == 0 { 2 } else { 0 }),
            );
            let b = self.op(&[x, waves[1 - i]], Out::New(half), ONE);
            *joined = self.op(&[a, b], Out::Into(a), ONE);
        }
        let spec = Spec::kernels(2).views(1);
        if part {
            self.op(&[halves[0], halves[1], x], Out::New(elements), spec)
        } else {
            self.op(&halves, Out::New(elements), spec)
        }
    }
}
