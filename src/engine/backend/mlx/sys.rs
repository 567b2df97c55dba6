//! The few calls of mlx-c that mlx-rs does not wrap. All unsafe code that MLX asks for is in this file.
#![allow(unsafe_code, reason = "calls into mlx-c, each with its SAFETY note")]

use std::ffi::{CStr, c_char};
use std::ptr;

use super::mlx_rs::{Array, Device, DeviceType, Dtype, Stream};
use super::mlx_sys;
use crate::engine::backend::{BackendError, DeviceInfo};

/// `words` random 32-bit words from `seed`: MLX's counter-based generator (Threefry 2x32), the same on every device.
pub(super) fn random_words(words: i32, seed: u64) -> Result<Array, BackendError> {
    let key = super::mlx_rs::random::key(seed)?;
    let stream = Stream::new();
    let shape = [words];
    // SAFETY: `mlx_array_new` returns an empty handle that `mlx_random_bits` fills; `shape` outlives the call and has
    // the length passed; `key` and `stream` are live handles. A non-zero return leaves the handle empty, which
    // `Array::from_ptr` still frees.
    let (code, array) = unsafe {
        let mut handle = mlx_sys::mlx_array_new();
        let code = mlx_sys::mlx_random_bits(
            &raw mut handle,
            shape.as_ptr(),
            shape.len(),
            4,
            key.as_ptr(),
            stream.as_ptr(),
        );
        (code, Array::from_ptr(handle))
    };
    if code == 0 {
        Ok(array)
    } else {
        Err(BackendError::Mlx(format!(
            "random_bits returned {code} for {words} words"
        )))
    }
}

/// `a ^ b`, element by element.
pub(super) fn xor(a: &Array, b: &Array) -> Result<Array, BackendError> {
    let stream = Stream::new();
    // SAFETY: as in `random_words`; both operands are live handles that the call only reads.
    let (code, array) = unsafe {
        let mut handle = mlx_sys::mlx_array_new();
        let code =
            mlx_sys::mlx_bitwise_xor(&raw mut handle, a.as_ptr(), b.as_ptr(), stream.as_ptr());
        (code, Array::from_ptr(handle))
    };
    if code == 0 {
        Ok(array)
    } else {
        Err(BackendError::Mlx(format!("bitwise_xor returned {code}")))
    }
}

/// An array's elements as the bytes they are, evaluated and in the host's reach.
pub(super) fn bytes(array: &Array) -> Result<&[u8], BackendError> {
    let length = array.nbytes();
    let start: *const u8 = match array.dtype() {
        // `try_as_slice` evaluates, checks that the elements lie in order, and that there is memory.
        Dtype::Float32 => array.try_as_slice::<f32>()?.as_ptr().cast(),
        _ => array.try_as_slice::<half::bf16>()?.as_ptr().cast(),
    };
    // SAFETY: `start` comes from a slice of the same array that covers all its elements, `nbytes` is their count times
    // their size, any byte is a valid `u8`, and the result borrows the array, which keeps the memory alive.
    Ok(unsafe { std::slice::from_raw_parts(start, length) })
}

/// Waits until the default stream has nothing left to do.
pub(super) fn synchronize() -> Result<(), BackendError> {
    // SAFETY: takes no argument; a non-zero return is checked below.
    let code = unsafe { mlx_sys::mlx_synchronize_default() };
    if code == 0 {
        Ok(())
    } else {
        Err(BackendError::Mlx(format!("synchronize returned {code}")))
    }
}

/// MLX's version.
fn version() -> Option<String> {
    // SAFETY: `mlx_version` fills a handle made by `mlx_string_new`; `mlx_string_data` points into it until
    // `mlx_string_free`, and the text is copied before that.
    unsafe {
        let mut text = mlx_sys::mlx_string_new();
        let version = (mlx_sys::mlx_version(&raw mut text) == 0)
            .then(|| owned(mlx_sys::mlx_string_data(text)))
            .flatten();
        mlx_sys::mlx_string_free(text);
        version
    }
}

/// # Safety
/// `text` is null or a string that ends with a zero byte and lives for the call.
unsafe fn owned(text: *const c_char) -> Option<String> {
    if text.is_null() {
        return None;
    }
    // SAFETY: not null, and as the function's own contract says.
    let text = unsafe { CStr::from_ptr(text) };
    Some(text.to_string_lossy().into_owned())
}

/// The default device, as MLX describes it.
pub(super) fn default_device() -> Result<DeviceInfo, BackendError> {
    let kind = Device::try_default()?.get_type()?;
    // SAFETY: the handles are made here and freed below; `DeviceDetails` reads them in between only.
    unsafe {
        let mut device = mlx_sys::mlx_device_new();
        let mut info = mlx_sys::mlx_device_info_new();
        let got = mlx_sys::mlx_get_default_device(&raw mut device) == 0
            && mlx_sys::mlx_device_info_get(&raw mut info, device) == 0;
        let details = DeviceDetails(info);
        let described = got.then(|| DeviceInfo {
            name: details.text(c"device_name").unwrap_or_else(|| {
                match kind {
                    DeviceType::Cpu => "CPU",
                    DeviceType::Gpu => "GPU",
                }
                .to_owned()
            }),
            library: version().map(|version| format!("MLX {version}")),
            memory_bytes: details
                .size(c"memory_size")
                .or(details.size(c"total_memory")),
            working_set_bytes: details.size(c"max_recommended_working_set_size"),
            free_bytes: details.size(c"free_memory"),
            // Apple's GPUs share the host's memory; the GPUs that MLX drives on Linux do not.
            separate_memory: cfg!(target_os = "linux") && matches!(kind, DeviceType::Gpu),
            cores: None,
        });
        mlx_sys::mlx_device_info_free(info);
        mlx_sys::mlx_device_free(device);
        described
            .ok_or_else(|| BackendError::Mlx("the default device does not describe itself".into()))
    }
}

/// Keys and values that MLX tells about a device.
struct DeviceDetails(mlx_sys::mlx_device_info);

impl DeviceDetails {
    fn has(&self, key: &CStr, text: bool) -> bool {
        let (mut exists, mut is_text) = (false, false);
        // SAFETY: the handle is live for the life of `self`, `key` ends with a zero byte, and both results are valid
        // places of the type that the call writes.
        unsafe {
            mlx_sys::mlx_device_info_has_key(&raw mut exists, self.0, key.as_ptr()) == 0
                && exists
                && mlx_sys::mlx_device_info_is_string(&raw mut is_text, self.0, key.as_ptr()) == 0
                && is_text == text
        }
    }

    fn text(&self, key: &CStr) -> Option<String> {
        let mut value = ptr::null();
        // SAFETY: as in `has`; the text belongs to the handle and is copied while that is live.
        unsafe {
            (self.has(key, true)
                && mlx_sys::mlx_device_info_get_string(&raw mut value, self.0, key.as_ptr()) == 0)
                .then(|| owned(value))
                .flatten()
        }
    }

    fn size(&self, key: &CStr) -> Option<u64> {
        let mut value = 0;
        // SAFETY: as in `has`.
        let code = unsafe {
            if !self.has(key, false) {
                return None;
            }
            mlx_sys::mlx_device_info_get_size(&raw mut value, self.0, key.as_ptr())
        };
        (code == 0 && value > 0).then_some(value as u64)
    }
}
