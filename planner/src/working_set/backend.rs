//! When a backend of MLX sends work to the device and what it keeps alive meanwhile, by MLX version.
//!
//! Read from mlx 0.32.2: `backend/metal/device.cpp` (`needs_commit`, `set_input_array`, limits by architecture),
//! `backend/metal/eval.cpp` (completion handler), `transforms.cpp` (`MAX_ACTIVE_TASKS`), `backend/metal/allocator.cpp`
//! (pages), `backend/metal/scaled_dot_product_attention.cpp` (which shapes are fused), `backend/cuda/device.cpp`
//! (`get_graph_limits`), `backend/cpu/encoder.h` (`DISPATCHES_PER_TASK`).

use crate::budget::{Backend, Machine, Tier};

/// The version that the table was read from.
pub const MLX_VERSION: &str = "0.32.2";

/// What counts towards the end of a command buffer beside the number of operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counting {
    /// Elements of every array that is touched, each array once a command buffer.
    Distinct,
    /// Elements of every input of every operation.
    EveryInput,
    /// Nothing: operations alone.
    Nothing,
}

/// The rules of one backend.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rules {
    /// More nodes than this end a command buffer.
    pub(super) nodes_max: u32,
    /// As many elements or more end a command buffer.
    pub(super) elements_end: f64,
    /// Command buffers that are under way at once.
    pub(super) in_flight: usize,
    /// Larger buffers are rounded up to this many bytes.
    pub(super) page_bytes: f64,
    /// What counts as elements.
    pub(super) counting: Counting,
    /// An operation and its views count as nodes beside its kernels, and what is over is carried on.
    pub(super) dispatches: bool,
    /// Norms, rotary embeddings and attention have kernels of their own.
    pub(super) fused: bool,
    /// Heads 256 wide have a fused kernel for long prompts (matrix units of the fifth generation).
    pub(super) fused_wide: bool,
    /// Whether a run on such hardware was ever compared.
    pub(super) measured: bool,
}

const MI: f64 = 1_048_576.0;

/// Architecture suffixes s and d: Pro, Max, Ultra.
const METAL_LARGE: Rules = Rules {
    nodes_max: 50,
    elements_end: 51.0 * MI,
    in_flight: 10,
    page_bytes: 16_384.0,
    counting: Counting::Distinct,
    dispatches: false,
    fused: true,
    fused_wide: false,
    measured: true,
};

/// Architecture suffix g: base chips.
const METAL_BASE: Rules = Rules {
    nodes_max: 40,
    elements_end: 41.0 * MI,
    ..METAL_LARGE
};

/// Large GPUs (H100, B200 and later); smaller ones commit sooner and hold less. Read, not measured.
const CUDA: Rules = Rules {
    nodes_max: 100,
    elements_end: 1001.0 * MI,
    page_bytes: 1.0,
    counting: Counting::EveryInput,
    measured: false,
    ..METAL_LARGE
};

/// Ten dispatches a task by the source, of which nine are counted: some evaluations dispatch more than is seen here.
const CPU: Rules = Rules {
    nodes_max: 8,
    elements_end: f64::INFINITY,
    page_bytes: 1.0,
    counting: Counting::Nothing,
    dispatches: true,
    fused: false,
    ..METAL_LARGE
};

impl Rules {
    /// The rules of `backend` on `machine`.
    #[must_use]
    pub fn of(backend: Backend, machine: &Machine) -> Self {
        match backend {
            Backend::Metal => Self {
                fused_wide: machine.generation >= 5,
                ..if machine.tier == Tier::Base {
                    METAL_BASE
                } else {
                    METAL_LARGE
                }
            },
            Backend::Cuda => CUDA,
            Backend::Cpu => CPU,
        }
    }

    /// Bytes that an array of `bytes` really takes.
    pub(super) fn rounded(&self, bytes: f64) -> f64 {
        if bytes <= self.page_bytes || self.page_bytes <= 1.0 {
            return bytes;
        }
        // Whole pages, rounded up by integers: `ceil` is a call on machines without an instruction for it.
        let (whole, page) = (bytes as u64, self.page_bytes as u64);
        let up = u64::from(bytes > whole as f64);
        (whole.saturating_add(up).div_ceil(page).saturating_mul(page)) as f64
    }

    /// Whether attention of `queries` at a time over heads of these widths runs in one kernel, under a causal mask or
    /// none where `array_mask` is not set.
    pub(super) fn fuses(&self, k_dim: u64, v_dim: u64, queries: u64, array_mask: bool) -> bool {
        let narrow = matches!(k_dim, 64 | 72 | 80 | 96 | 128);
        let wide =
            k_dim == 256 && (queries <= 8 || (self.fused_wide && queries >= 1024 && !array_mask));
        self.fused && k_dim == v_dim && (narrow || wide)
    }
}
