//! A config.json, through the parser and, where it describes a model, through every sum that a plan makes of it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use shvplan::cache::{self, Workload};
use shvplan::model::families;
use shvplan::quant::Scheme;
use shvplan::source::json::{Limits, parse};
use shvplan::weights;
use shvplan_fuzz::within_bounds;

/// What any tree of values may take, however short its text.
const TREE_BYTES: usize = 4 << 20;

fuzz_target!(|text: &[u8]| {
    let value = match within_bounds(text, TREE_BYTES, || parse(text, Limits::CONFIG)) {
        Ok(value) => value,
        Err(error) => return assert!(error.to_string().len() < 2000),
    };
    let model = match within_bounds(text, TREE_BYTES, || families::build(&value)) {
        Ok(model) => model,
        Err(error) => {
            let _ = error.to_string();
            return;
        }
    };
    let _ = (model.parameters(), model.active_parameters());
    for quant in ["bf16", "int4", "mxfp4", "mixed_3_6"] {
        let scheme = Scheme::new(model.dtype, quant.parse().expect("a name of the command line"));
        let _ = weights::total_bytes(&model, &scheme);
    }
    let workload = Workload { context_tokens: 131_072, concurrency: 16, ..Workload::default() };
    if cache::check(&model, &workload).is_ok() {
        let _ = cache::peak_bytes(&model, &workload, model.dtype);
    }
});
