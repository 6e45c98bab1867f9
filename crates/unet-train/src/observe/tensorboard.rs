//! TensorBoard event files, written by hand: TFRecords (length, masked CRC-32C, bytes, masked CRC-32C) of `Event` protocol buffers
//! (`tensorflow/core/util/event.proto`), scalars only. `tensorboard --logdir RUN` reads them.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::jsonl::open_and_cut;
use super::{Event, Observer, ValidationRecord};
use crate::TrainError;

/// Writes the loss and the learning rate of each step, and the scores of each epoch.
#[derive(Debug)]
pub struct TensorBoard {
    path: PathBuf,
    file: File,
    written: u64,
    class_values: Vec<u32>,
}

impl TensorBoard {
    /// The name of a new event file, of the form that TensorBoard looks for.
    pub fn file_name() -> String {
        format!("events.out.tfevents.{}.unet", wall_time() as u64)
    }

    /// Starts the file, or continues it behind its first `keep` bytes (what follows is dropped). `class_values` name the classes in
    /// the scores.
    ///
    /// # Errors
    /// It cannot be opened, or is shorter than that.
    pub fn open(path: &Path, keep: u64, class_values: &[u32]) -> Result<Self, TrainError> {
        let file = open_and_cut(path, keep)?;
        let mut log = Self { path: path.to_owned(), file, written: keep, class_values: class_values.to_vec() };
        if keep == 0 {
            log.record(&version_event())?;
        }
        Ok(log)
    }

    /// Waits until all of it is on the disk.
    ///
    /// # Errors
    /// The system's own.
    pub fn sync(&self) -> Result<(), TrainError> {
        self.file.sync_data().map_err(|e| TrainError::io(&self.path, "write", e))
    }

    /// Bytes written so far.
    pub fn len(&self) -> u64 {
        self.written
    }

    /// Whether nothing was written yet: never so, the file has a header.
    pub fn is_empty(&self) -> bool {
        self.written == 0
    }

    fn record(&mut self, event: &[u8]) -> Result<(), TrainError> {
        let bytes = tf_record(event);
        self.file.write_all(&bytes).map_err(|e| TrainError::io(&self.path, "write", e))?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    fn scalars(&mut self, step: u64, scalars: &[(String, f64)]) -> Result<(), TrainError> {
        self.record(&scalar_event(step, scalars))
    }
}

impl Observer for TensorBoard {
    fn on_event(&mut self, event: &Event<'_>) -> Result<(), TrainError> {
        match event {
            Event::Step(s) => {
                let scalars = [("train/loss", s.loss), ("train/lr", s.lr), ("train/grad_norm", s.grad_norm)];
                self.scalars(s.step, &scalars.map(|(tag, v)| (tag.to_owned(), v)))
            }
            Event::Epoch(r) => {
                let mut scalars = vec![
                    ("epoch/train_loss".to_owned(), r.train_loss),
                    ("epoch/images_per_second".to_owned(), r.images_per_second),
                ];
                if let Some(val) = &r.val {
                    scalars.extend(validation_scalars(val, &self.class_values));
                }
                self.scalars(r.step, &scalars)
            }
            _ => Ok(()),
        }
    }
}

/// Loss and scores by tag; a score without a value is left out.
fn validation_scalars(val: &ValidationRecord, class_values: &[u32]) -> Vec<(String, f64)> {
    let s = &val.scores;
    let mut scalars = vec![("val/loss".to_owned(), val.loss)];
    let mut push = |tag: String, value: Option<f64>| scalars.extend(value.map(|v| (tag, v)));
    push("val/pixel_accuracy".into(), s.pixel_accuracy);
    push("val/mean_dice".into(), s.mean_dice);
    push("val/mean_iou".into(), s.mean_iou);
    for (value, class) in class_values.iter().zip(&s.per_class) {
        push(format!("val/dice_{value}"), class.dice);
        push(format!("val/iou_{value}"), class.iou);
    }
    scalars
}

fn wall_time() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |t| t.as_secs_f64())
}

/// `Event { wall_time: 1, file_version: 3 }`, which opens each file.
fn version_event() -> Vec<u8> {
    let mut event = Vec::new();
    double_field(&mut event, 1, wall_time());
    bytes_field(&mut event, 3, b"brain.Event:2");
    event
}

/// `Event { wall_time: 1, step: 2, summary: 5 { value: 1 { tag: 1, simple_value: 2 } … } }`.
fn scalar_event(step: u64, scalars: &[(String, f64)]) -> Vec<u8> {
    let mut summary = Vec::new();
    for (tag, value) in scalars {
        let mut entry = Vec::new();
        bytes_field(&mut entry, 1, tag.as_bytes());
        key(&mut entry, 2, 5);
        entry.extend((*value as f32).to_le_bytes());
        bytes_field(&mut summary, 1, &entry);
    }
    let mut event = Vec::new();
    double_field(&mut event, 1, wall_time());
    key(&mut event, 2, 0);
    varint(&mut event, step);
    bytes_field(&mut event, 5, &summary);
    event
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

fn tf_record(data: &[u8]) -> Vec<u8> {
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
        log.scalars(7, &[("a".into(), 0.5)]).unwrap();
        let keep = log.len();
        log.scalars(8, &[("a".into(), 0.25)]).unwrap();
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
