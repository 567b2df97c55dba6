//! How an answer is shown: one file a format.

mod basis;
pub mod html;
pub mod json;
pub mod table;
pub mod text;

use crate::advice::Counsel;
use crate::model::Model;
use crate::plan::{Plan, Request};
use crate::quant::{Packing, Quant};

/// What the reader calls the model, and where its description came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// The name on the command line or of the file.
    pub name: String,
    /// What people call it.
    pub title: String,
    /// Where the description came from.
    pub source: String,
    /// What a reader should know about the files: differences, and what was left out.
    pub notes: Vec<String>,
}

/// Everything that a report shows.
#[derive(Debug, Clone, Copy)]
pub struct Report<'a> {
    /// The model's names.
    pub subject: &'a Subject,
    /// The question.
    pub request: &'a Request<'a>,
    /// The answer.
    pub plan: &'a Plan,
    /// What to change, and what not to.
    pub counsel: &'a Counsel,
    /// Whether the ledger, layer by layer, is wanted.
    pub explain: bool,
}

impl Report<'_> {
    fn model(&self) -> &Model {
        self.request.model
    }

    /// Bits that a parameter takes, scales and all that is left plain included.
    fn bits_per_weight(&self) -> f64 {
        self.plan.footprint.weights_bytes as f64 * 8.0 / self.model().parameters().max(1) as f64
    }
}

/// The packing that most of the weights are in, where there is one.
fn nominal(quant: Quant) -> Option<Packing> {
    match quant {
        Quant::Plain(_) | Quant::Blocks(_) => None,
        Quant::Packed(packing) => Some(packing),
        Quant::Mixed(recipe) => Some(recipe.packing(false)),
    }
}
