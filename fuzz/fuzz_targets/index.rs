//! An index of shards.

#![no_main]

use libfuzzer_sys::fuzz_target;
use shvplan::source::index::read;
use shvplan_fuzz::{FIXED_BYTES, within_bounds};

fuzz_target!(|text: &[u8]| {
    let listed = within_bounds(text, FIXED_BYTES, || {
        read(text).map(|index| index.shards().iter().map(|shard| shard.to_string()).collect::<Vec<_>>())
    });
    match listed {
        Ok(shards) => {
            for shard in shards {
                assert!(shard.ends_with(".safetensors") && !shard.contains(['/', '\\']) && shard != "..");
            }
        }
        Err(error) => assert!(error.to_string().len() < 2000),
    }
});
