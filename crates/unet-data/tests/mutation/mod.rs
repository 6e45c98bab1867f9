//! Mutations of files: of bytes, of a PNG's chunks, and of the values of a JSON document. Each takes a file's bytes and changes them in place.
#![allow(clippy::unwrap_used)]

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

/// A way to change a file's bytes.
pub type Mutation = fn(&mut Vec<u8>, &mut ChaCha8Rng);

/// One to five random edits: bits flipped, bytes set, a piece removed, doubled or filled.
pub fn mutate(bytes: &mut Vec<u8>, rng: &mut ChaCha8Rng) {
    for _ in 0..rng.random_range(1..=5) {
        if bytes.is_empty() {
            return;
        }
        let at = rng.random_range(0..bytes.len());
        let end = (at + rng.random_range(1..64)).min(bytes.len());
        match rng.random_range(0..7) {
            0 => bytes[at] ^= 1 << rng.random_range(0..8),
            1 => bytes[at] = *[0, 1, 0x7F, 0x80, 0xFF].get(rng.random_range(0..5)).unwrap(),
            2 => bytes.truncate(at),
            3 => drop(bytes.drain(at..end)),
            4 => {
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            5 => bytes[at..end].fill(rng.random()),
            // Headers matter most: aim at the first bytes as often as at all others.
            _ => {
                let head = at.min(rng.random_range(0..bytes.len().min(64)));
                bytes[head] = rng.random();
            }
        }
    }
}

/// Of most mutants a few bytes behind the signature change, and the checksums of the PNG's chunks are made right again: else a reader sees
/// little beyond them. The others are those of [`mutate`].
pub fn mutate_png(bytes: &mut Vec<u8>, rng: &mut ChaCha8Rng) {
    if rng.random_ratio(1, 8) {
        return mutate(bytes, rng);
    }
    for _ in 0..rng.random_range(1..=3) {
        let place = rng.random_range(8..bytes.len());
        bytes[place] = if rng.random() { rng.random() } else { bytes[place] ^ 1 << rng.random_range(0..8) };
    }
    let mut at = 8; // behind the signature: length, kind, content and checksum of each chunk
    while let Some(length) = bytes.get(at..).and_then(|b| b.first_chunk::<4>()).map(|b| u32::from_be_bytes(*b) as usize)
    {
        let end = at + 8 + length;
        let Some(sum) = bytes.get(at + 4..end).map(crc32) else { return };
        let Some(place) = bytes.get_mut(end..end + 4) else { return };
        place.copy_from_slice(&sum.to_be_bytes());
        at = end + 4;
    }
}

/// The checksum of ISO 3309, as PNG has it.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |sum: u32, _| if sum & 1 == 1 { sum >> 1 ^ 0xEDB8_8320 } else { sum >> 1 };
    !bytes.iter().fold(u32::MAX, |sum, &b| (0..8).fold(sum ^ u32::from(b), step))
}

/// The values in a JSON document, itself and all within it.
fn values_of(json: &Value) -> Vec<&Value> {
    let mut found = vec![json];
    match json {
        Value::Array(items) => found.extend(items.iter().flat_map(values_of)),
        Value::Object(map) => found.extend(map.values().flat_map(values_of)),
        _ => {}
    }
    found
}

/// The value at that place among [`values_of`].
fn value_at<'a>(json: &'a mut Value, place: &mut usize) -> Option<&'a mut Value> {
    if *place == 0 {
        return Some(json);
    }
    *place -= 1;
    match json {
        Value::Array(items) => items.iter_mut().find_map(|item| value_at(item, place)),
        Value::Object(map) => map.values_mut().find_map(|item| value_at(item, place)),
        _ => None,
    }
}

/// Changes one value of a document, mostly to another of its kind; `other` is any value of the document.
fn change(value: &mut Value, other: Value, rng: &mut ChaCha8Rng) {
    if rng.random_ratio(1, 12) {
        *value = if rng.random_ratio(2, 3) { other } else { Value::Null };
        return;
    }
    let pick = rng.random_range(0..6);
    match value {
        Value::Number(n) => {
            let near = n.as_f64().unwrap_or(0.0) + rng.random_range(-3.0..3.0);
            let far = [0.0, -1.0, 0.5, 255.0, 65536.0, 4294967296.0, 1e19, -1e19, 1e308, -1e308, 5e-324];
            let whole = [0u64, 1, 15, 16, 17, 256, u64::from(u32::MAX), u64::MAX];
            *value = match pick {
                0 => Value::from(far[rng.random_range(0..far.len())]),
                1 => Value::from(whole[rng.random_range(0..whole.len())]),
                _ => Value::from(near),
            };
        }
        Value::String(text) => match (pick, other) {
            (0, _) => text.clear(),
            (1, _) => *text = text.repeat(rng.random_range(2..2000)),
            (2, Value::String(other)) => *text = other,
            _ => {
                let letters: Vec<char> = text.chars().collect();
                let at = rng.random_range(0..letters.len() + 1);
                let new = rng.random_range(' '..='~');
                *text = letters[..at].iter().chain(&[new]).chain(letters.iter().skip(at + pick % 2)).collect();
            }
        },
        Value::Array(items) => {
            let at = rng.random_range(0..items.len() + 1);
            match (pick, items.get(at).cloned()) {
                (0, _) => items.truncate(at),
                (1, Some(_)) => drop(items.remove(at)),
                (2, Some(item)) => items.insert(at, item),
                (3, Some(item)) => items.extend(vec![item; rng.random_range(1..200)]),
                (4, _) => items.reverse(),
                _ => items.insert(at, other),
            }
        }
        Value::Object(map) => {
            let keys: Vec<String> = map.keys().cloned().collect();
            let Some(key) = keys.get(rng.random_range(0..keys.len() + 1)) else { return };
            let taken = map.remove(key);
            let key = if pick == 0 { return } else { &keys[rng.random_range(0..keys.len())] };
            map.extend(taken.map(|v| (key.clone(), v)));
        }
        _ => *value = other,
    }
}

/// One to three changes of values, few of which leave no JSON.
pub fn mutate_json(bytes: &mut Vec<u8>, rng: &mut ChaCha8Rng) {
    let mut json: Value = serde_json::from_slice(bytes).unwrap();
    for _ in 0..rng.random_range(1..=3) {
        let values = values_of(&json);
        let (mut place, other) = (rng.random_range(0..values.len()), rng.random_range(0..values.len()));
        let other = values[other].clone();
        change(value_at(&mut json, &mut place).unwrap(), other, rng);
    }
    *bytes = serde_json::to_vec(&json).unwrap();
    if rng.random_ratio(1, 16) {
        mutate(bytes, rng);
    }
}
