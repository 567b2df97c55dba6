//! A GGUF file, whole, then as the start of a longer one.

#![no_main]

use libfuzzer_sys::fuzz_target;
use shvplan::source::gguf::{Progress, read};
use shvplan_fuzz::{FIXED_BYTES, within_bounds};

fuzz_target!(|file: &[u8]| {
    for file_bytes in [file.len() as u64, 1 << 50, u64::MAX] {
        match within_bounds(file, FIXED_BYTES, || read(file, file_bytes)) {
            Ok(Progress::Done(gguf)) => {
                let total: u64 = gguf.tensors.iter().map(|tensor| tensor.bytes).sum();
                assert!(total == 0 || gguf.data_offset + total <= file_bytes);
                for tensor in &gguf.tensors {
                    let _ = tensor.elements();
                }
            }
            Ok(Progress::Need(bytes)) => assert!(bytes > file.len() as u64 && bytes <= file_bytes),
            Err(error) => assert!(error.to_string().len() < 2000),
        }
    }
});
