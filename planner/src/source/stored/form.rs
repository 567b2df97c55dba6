//! How one array lies in the files.

use super::super::gguf::GgmlType;
use crate::quant::{Dtype, Mode, Override, Packing};

/// The form of one array in the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Form {
    Plain(DtypeKey),
    Blocks(GgmlType),
    Packed { mode: u8, bits: u8, group_size: u16 },
}

/// A type by its place in [`DTYPES`]: types have no order of their own.
pub(super) type DtypeKey = usize;
pub(super) const DTYPES: [Dtype; 4] = [Dtype::Bf16, Dtype::F16, Dtype::F32, Dtype::U8];
pub(super) const MODES: [Mode; 4] = [Mode::Affine, Mode::Mxfp4, Mode::Nvfp4, Mode::Mxfp8];

impl Form {
    pub(super) fn exception(self) -> Override {
        match self {
            Self::Plain(key) => Override::Plain(DTYPES[key]),
            Self::Blocks(ggml) => Override::Blocks(ggml.blocks()),
            Self::Packed { .. } => self.packing().map_or(Override::Keep, Override::Packed),
        }
    }

    pub(super) fn packing(self) -> Option<Packing> {
        match self {
            Self::Plain(_) | Self::Blocks(_) => None,
            Self::Packed {
                mode,
                bits,
                group_size,
            } => Some(Packing {
                mode: MODES[usize::from(mode)],
                bits,
                group_size,
            }),
        }
    }
}

/// The form of plain elements.
pub(super) fn plain(dtype: Dtype) -> Option<Form> {
    DTYPES
        .iter()
        .position(|known| *known == dtype)
        .map(Form::Plain)
}
