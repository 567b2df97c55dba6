//! Builds GGUF files byte by byte, well-formed or not.

#![allow(dead_code, reason = "each test uses a part of it")]

/// A file under construction: keys and tensors in the order they are added.
pub(crate) struct GgufFile {
    pub(crate) version: u32,
    keys: Vec<Vec<u8>>,
    tensors: Vec<Vec<u8>>,
    pub(crate) alignment: usize,
    pub(crate) data_bytes: usize,
}

/// A string as GGUF stores it.
pub(crate) fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

impl GgufFile {
    /// A file of architecture `llama` without tensors.
    pub(crate) fn llama() -> Self {
        Self::bare().text("general.architecture", "llama")
    }

    /// A file without keys.
    pub(crate) fn bare() -> Self {
        Self {
            version: 3,
            keys: Vec::new(),
            tensors: Vec::new(),
            alignment: 32,
            data_bytes: 0,
        }
    }

    /// Any value: its type's number and its bytes.
    pub(crate) fn key(mut self, key: &str, value_type: u32, value: &[u8]) -> Self {
        self.keys
            .push([&string(key)[..], &value_type.to_le_bytes(), value].concat());
        self
    }

    pub(crate) fn u32(self, key: &str, value: u32) -> Self {
        self.key(key, 4, &value.to_le_bytes())
    }

    pub(crate) fn text(self, key: &str, value: &str) -> Self {
        self.key(key, 8, &string(value))
    }

    /// An array of `length` elements whose bytes are given.
    pub(crate) fn array(self, key: &str, element_type: u32, length: u64, elements: &[u8]) -> Self {
        self.key(
            key,
            9,
            &[
                &element_type.to_le_bytes()[..],
                &length.to_le_bytes(),
                elements,
            ]
            .concat(),
        )
    }

    /// A tensor wherever its entry says; dimensions as in the file, the contiguous one first.
    pub(crate) fn tensor_at(
        mut self,
        name: &str,
        dimensions: &[u64],
        ggml_type: u32,
        data_offset: u64,
    ) -> Self {
        let mut entry = string(name);
        entry.extend((dimensions.len() as u32).to_le_bytes());
        for dimension in dimensions {
            entry.extend(dimension.to_le_bytes());
        }
        entry.extend(ggml_type.to_le_bytes());
        entry.extend(data_offset.to_le_bytes());
        self.tensors.push(entry);
        self
    }

    /// A tensor of `bytes` after the last one.
    pub(crate) fn tensor(
        mut self,
        name: &str,
        dimensions: &[u64],
        ggml_type: u32,
        bytes: usize,
    ) -> Self {
        let data_offset = self.data_bytes.next_multiple_of(self.alignment);
        self.data_bytes = data_offset + bytes;
        self.tensor_at(name, dimensions, ggml_type, data_offset as u64)
    }

    /// The header and the padding after it.
    pub(crate) fn header(&self) -> Vec<u8> {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(self.version.to_le_bytes());
        bytes.extend((self.tensors.len() as u64).to_le_bytes());
        bytes.extend((self.keys.len() as u64).to_le_bytes());
        bytes.extend(self.keys.concat());
        bytes.extend(self.tensors.concat());
        bytes.resize(bytes.len().next_multiple_of(self.alignment), 0);
        bytes
    }

    /// The header with its data, all zero.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.header();
        bytes.resize(bytes.len() + self.data_bytes, 0);
        bytes
    }
}
