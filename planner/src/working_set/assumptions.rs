//! What an answer rests on without a measurement on a real Mac; each makes the interval wider.

use super::Rules;
use crate::model::{CacheKind, Flavour, Mixer, Model, Recurrence};

/// Something that no published peak has confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Assumption {
    /// Gated delta, Mamba 2, short convolutions: operations read from source, seen on the CPU build at most.
    Recurrence,
    /// No list of operations of its own: that of the nearest kind.
    NearestKind,
    /// Quantized caches.
    QuantizedCache,
    /// Several sequences at once.
    Concurrency,
    /// The CUDA backend.
    Backend,
}

impl Assumption {
    const ALL: [Self; 5] = [
        Self::Recurrence,
        Self::NearestKind,
        Self::QuantizedCache,
        Self::Concurrency,
        Self::Backend,
    ];

    /// The name in reports.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Recurrence => "recurrence_not_measured",
            Self::NearestKind => "operations_of_nearest_kind",
            Self::QuantizedCache => "quantized_cache_not_measured",
            Self::Concurrency => "concurrency_not_measured",
            Self::Backend => "backend_not_measured",
        }
    }

    /// The same as a sentence.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Recurrence => {
                "the working set of recurrent and convolution layers is read from MLX's source; no peak of a real Mac confirms it"
            }
            Self::NearestKind => {
                "some layers have no list of operations of their own here: the nearest kind stands in for them"
            }
            Self::QuantizedCache => {
                "the working set with quantized caches is read from source, not measured"
            }
            Self::Concurrency => {
                "the working set of several sequences at once is derived, not measured"
            }
            Self::Backend => "the CUDA backend's rules are read from source, not measured",
        }
    }
}

/// A set of assumptions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Assumptions(u8);

impl Assumptions {
    /// What an answer about `model` rests on.
    #[must_use]
    pub fn of(model: &Model, rules: Rules, quantized_cache: bool, sequences: u64) -> Self {
        let mut all = Self::default();
        for group in &model.groups {
            for &mixer in &group.mixers {
                match mixer {
                    Mixer::Recurrent {
                        kind: Recurrence::Mamba1 | Recurrence::Linear,
                        ..
                    }
                    | Mixer::Attention {
                        flavour: Flavour::Manual,
                        ..
                    } if model.family != "gemma2" => all.insert(Assumption::NearestKind),
                    Mixer::Recurrent { .. } | Mixer::Convolution { .. } => {
                        all.insert(Assumption::Recurrence);
                    }
                    Mixer::Attention { .. } | Mixer::Latent { .. } => {}
                }
            }
            // Several mixers side by side, layers that read another's cache, caches cut in chunks.
            if group.mixers.len() > 1
                || (group.caches.is_empty()
                    && group
                        .mixers
                        .iter()
                        .any(|m| matches!(m, Mixer::Attention { .. })))
                || group
                    .caches
                    .iter()
                    .any(|c| matches!(c, CacheKind::Chunked { .. }))
            {
                all.insert(Assumption::NearestKind);
            }
        }
        if quantized_cache {
            all.insert(Assumption::QuantizedCache);
        }
        if sequences > 1 {
            all.insert(Assumption::Concurrency);
        }
        if !rules.measured {
            all.insert(Assumption::Backend);
        }
        all
    }

    fn insert(&mut self, one: Assumption) {
        self.0 |= 1 << one as u8;
    }

    /// Whether everything was measured.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// One by one.
    pub fn iter(self) -> impl Iterator<Item = Assumption> {
        Assumption::ALL
            .into_iter()
            .filter(move |&a| self.0 & (1 << a as u8) != 0)
    }
}
