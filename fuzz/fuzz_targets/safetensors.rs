//! A safetensors file, first as it is, then with its first 8 bytes as the length of the file behind the header.

#![no_main]

use libfuzzer_sys::fuzz_target;
use shvplan::source::safetensors::{PREFIX_BYTES, header_bytes, read};
use shvplan_fuzz::{FIXED_BYTES, within_bounds};

fuzz_target!(|file: &[u8]| {
    let file_bytes = file.len() as u64;
    if let Ok(length) = header_bytes(file, file_bytes) {
        check(&file[PREFIX_BYTES..PREFIX_BYTES + length], file_bytes);
    }
    if let Some((prefix, header)) = file.split_first_chunk::<PREFIX_BYTES>() {
        check(header, u64::from_le_bytes(*prefix));
    }
});

fn check(header: &[u8], file_bytes: u64) {
    match within_bounds(header, FIXED_BYTES, || read(header, file_bytes)) {
        Ok(read) => {
            let data_bytes = file_bytes - PREFIX_BYTES as u64 - header.len() as u64;
            assert_eq!(read.tensors.iter().map(|tensor| tensor.bytes).sum::<u64>(), data_bytes);
            for tensor in &read.tensors {
                let _ = tensor.elements();
            }
        }
        Err(error) => assert!(error.to_string().len() < 2000),
    }
}
