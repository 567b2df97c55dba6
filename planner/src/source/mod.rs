//! Where a model description comes from.
//!
//! Every reader here takes bytes and returns data: opening files is the caller's part.

pub mod catalog;
pub mod checkpoint;
pub mod gguf;
pub mod index;
pub mod json;
mod no_text;
pub mod quantization;
mod quote;
pub mod safetensors;
mod skip;
pub mod stored;
