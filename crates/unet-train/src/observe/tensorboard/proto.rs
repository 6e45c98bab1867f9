//! TFRecords (length, masked CRC-32C, bytes, masked CRC-32C) of `Event` protocol buffers (`tensorflow/core/util/event.proto`,
//! `tensorflow/core/framework/summary.proto`), written by hand.

use std::time::{SystemTime, UNIX_EPOCH};

use super::Hyper;
use super::histogram::Histogram;

/// Seconds since 1970.
pub(super) fn wall_time() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |t| t.as_secs_f64())
}

/// `Event { wall_time: 1, file_version: 3 }`, which opens each file.
pub(super) fn version_event() -> Vec<u8> {
    let mut event = Vec::new();
    double_field(&mut event, 1, wall_time());
    bytes_field(&mut event, 3, b"brain.Event:2");
    event
}

/// `Event { wall_time: 1, step: 2, summary: 5 { value: 1 … } }`.
pub(super) fn event(step: u64, values: &[Value]) -> Vec<u8> {
    let mut summary = Vec::new();
    values.iter().for_each(|Value(entry)| bytes_field(&mut summary, 1, entry));
    let mut event = Vec::new();
    double_field(&mut event, 1, wall_time());
    key(&mut event, 2, 0);
    varint(&mut event, step);
    bytes_field(&mut event, 5, &summary);
    event
}

/// A `Summary.Value`, encoded.
pub(super) struct Value(Vec<u8>);

impl Value {
    fn tagged(tag: &str) -> Vec<u8> {
        let mut entry = Vec::new();
        bytes_field(&mut entry, 1, tag.as_bytes());
        entry
    }

    /// `{ tag: 1, simple_value: 2 }`.
    pub(super) fn scalar(tag: &str, value: f64) -> Self {
        let mut entry = Self::tagged(tag);
        key(&mut entry, 2, 5);
        entry.extend((value as f32).to_le_bytes());
        Self(entry)
    }

    /// `{ tag: 1, image: 4 { height: 1, width: 2, colorspace: 3 (RGB), encoded_image_string: 4 } }`.
    pub(super) fn image(tag: &str, width: usize, height: usize, png: &[u8]) -> Self {
        let mut image = Vec::new();
        for (field, value) in [(1, height as u64), (2, width as u64), (3, 3)] {
            key(&mut image, field, 0);
            varint(&mut image, value);
        }
        bytes_field(&mut image, 4, png);
        let mut entry = Self::tagged(tag);
        bytes_field(&mut entry, 4, &image);
        Self(entry)
    }

    /// `{ tag: 1, histo: 5 { min: 1, max: 2, num: 3, sum: 4, sum_squares: 5, bucket_limit: 6, bucket: 7 } }`.
    pub(super) fn histogram(tag: &str, h: &Histogram) -> Self {
        let mut histogram = Vec::new();
        for (field, value) in [(1, h.min), (2, h.max), (3, h.count), (4, h.sum), (5, h.sum_of_squares)] {
            double_field(&mut histogram, field, value);
        }
        let packed = |values: &[f64]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
        bytes_field(&mut histogram, 6, &packed(&h.limits));
        bytes_field(&mut histogram, 7, &packed(&h.counts));
        let mut entry = Self::tagged(tag);
        bytes_field(&mut entry, 5, &histogram);
        Self(entry)
    }

    /// `{ tag: 1, tensor: 8 { dtype: 1 (string), tensor_shape: 2 { dim: 2 { size: 1 } }, string_val: 8 }, metadata: 9 }`.
    pub(super) fn text(tag: &str, text: &str) -> Self {
        let mut tensor = Vec::new();
        key(&mut tensor, 1, 0);
        varint(&mut tensor, 7);
        bytes_field(&mut tensor, 2, &shape(1));
        bytes_field(&mut tensor, 8, text.as_bytes());
        let mut entry = Self::tagged(&format!("{tag}/text_summary"));
        bytes_field(&mut entry, 8, &tensor);
        bytes_field(&mut entry, 9, &metadata(b"text", b""));
        Self(entry)
    }

    /// `HParamsPluginData { session_start_info: 3 { hparams: 1 (a map), start_time_secs: 5 } }`.
    pub(super) fn session_start(hyperparameters: &[(String, Hyper)]) -> Self {
        let mut session = Vec::new();
        for (name, hyper) in hyperparameters {
            let mut value = Vec::new();
            match hyper {
                Hyper::Number(v) => double_field(&mut value, 2, *v),
                Hyper::Text(v) => bytes_field(&mut value, 3, v.as_bytes()),
                Hyper::Flag(v) => {
                    key(&mut value, 4, 0);
                    varint(&mut value, u64::from(*v));
                }
            }
            let mut entry = Vec::new();
            bytes_field(&mut entry, 1, name.as_bytes());
            bytes_field(&mut entry, 2, &value);
            bytes_field(&mut session, 1, &entry);
        }
        double_field(&mut session, 5, wall_time());
        Self::hyperparameter_plugin("_hparams_/session_start_info", 3, &session)
    }

    /// `HParamsPluginData { session_end_info: 4 { status: 1 (success), end_time_secs: 2 } }`.
    pub(super) fn session_end() -> Self {
        let mut session = Vec::new();
        key(&mut session, 1, 0);
        varint(&mut session, 1);
        double_field(&mut session, 2, wall_time());
        Self::hyperparameter_plugin("_hparams_/session_end_info", 4, &session)
    }

    /// The plugin keeps what it needs in the metadata, beside an empty tensor of floats.
    fn hyperparameter_plugin(tag: &str, field: u64, data: &[u8]) -> Self {
        let (mut content, mut tensor) = (Vec::new(), Vec::new());
        bytes_field(&mut content, field, data);
        key(&mut tensor, 1, 0);
        varint(&mut tensor, 1);
        bytes_field(&mut tensor, 2, &shape(0));
        let mut entry = Self::tagged(tag);
        bytes_field(&mut entry, 8, &tensor);
        bytes_field(&mut entry, 9, &metadata(b"hparams", &content));
        Self(entry)
    }
}

/// `TensorShapeProto { dim: 2 { size: 1 } }`.
fn shape(size: u64) -> Vec<u8> {
    let (mut dim, mut shape) = (Vec::new(), Vec::new());
    key(&mut dim, 1, 0);
    varint(&mut dim, size);
    bytes_field(&mut shape, 2, &dim);
    shape
}

/// `SummaryMetadata { plugin_data: 1 { plugin_name: 1, content: 2 } }`.
fn metadata(plugin: &[u8], content: &[u8]) -> Vec<u8> {
    let (mut data, mut metadata) = (Vec::new(), Vec::new());
    bytes_field(&mut data, 1, plugin);
    bytes_field(&mut data, 2, content);
    bytes_field(&mut metadata, 1, &data);
    metadata
}

/// A protocol-buffer key: field number and wire type (0 varint, 1 eight bytes, 2 length and bytes, 5 four bytes).
fn key(out: &mut Vec<u8>, field: u64, wire: u64) {
    varint(out, field << 3 | wire);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn double_field(out: &mut Vec<u8>, field: u64, value: f64) {
    key(out, field, 1);
    out.extend(value.to_le_bytes());
}

fn bytes_field(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    key(out, field, 2);
    varint(out, bytes.len() as u64);
    out.extend(bytes);
}

/// A record of these bytes.
pub(super) fn tf_record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let mut record = length.to_vec();
    record.extend(masked(crc32c(&length)).to_le_bytes());
    record.extend(data);
    record.extend(masked(crc32c(data)).to_le_bytes());
    record
}

/// TFRecord's mask, which keeps checksums of checksums apart.
fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32C (Castagnoli), reflected polynomial 0x82F63B78.
fn crc32c(data: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0u32; 256];
        let mut i = 0;
        while i < 256 {
            let mut crc = i as u32;
            let mut bit = 0;
            while bit < 8 {
                crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
                bit += 1;
            }
            table[i] = crc;
            i += 1;
        }
        table
    };
    !data.iter().fold(!0, |crc, byte| TABLE[usize::from(crc as u8 ^ byte)] ^ crc >> 8)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::TensorBoard;
    use super::*;

    #[test]
    fn crc_vectors_of_rfc_3720() {
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc32c(&(0..32).collect::<Vec<u8>>()), 0x46dd_794e);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn varints_are_protocol_buffers() {
        let mut out = Vec::new();
        varint(&mut out, 300);
        assert_eq!(out, [0xac, 0x02]);
    }

    #[test]
    fn records_frame_the_events() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(TensorBoard::file_name());
        let mut log = TensorBoard::open(&path, 0, &[0, 255]).unwrap();
        log.scalars(7, &[("a".to_owned(), 0.5)]).unwrap();
        let keep = log.len();
        log.scalars(8, &[("a".to_owned(), 0.25)]).unwrap();
        let log = TensorBoard::open(&path, keep, &[0, 255]).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes.len() as u64, log.len());
        let mut records = Vec::new();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
            assert_eq!(rest[8..12], masked(crc32c(&rest[..8])).to_le_bytes());
            records.push(&rest[12..12 + length]);
            assert_eq!(rest[12 + length..16 + length], masked(crc32c(&rest[12..12 + length])).to_le_bytes());
            rest = &rest[16 + length..];
        }
        assert_eq!(records.len(), 2, "the version, and step 7; step 8 came after the saved state");
        assert!(records[0].ends_with(b"brain.Event:2"));
        // step 7; summary of 10 bytes: a value of 8: tag "a", simple_value 0.5.
        assert_eq!(records[1][9..], [0x10, 7, 0x2a, 10, 0x0a, 8, 0x0a, 1, b'a', 0x15, 0, 0, 0, 0x3f]);
    }
}
