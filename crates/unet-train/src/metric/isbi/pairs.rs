//! Counts of pairs of labels: takes stretches of pixels that share one, yields how many have each. A hash table that is filled once a
//! threshold and remembers the order in which pairs came, so that sums over them are the same at any number of threads.

/// Larger than any label.
const FREE: u64 = u64::MAX;
/// Slots of a new table; always a power of two.
const SLOTS: usize = 1 << 12;

/// Pixels of each pair that occurs.
#[derive(Debug)]
pub(super) struct PairTable {
    /// Pairs, the truth's label in the upper half, at the place of their hash or behind it.
    keys: Vec<u64>,
    /// Where in `rows` the pair of a slot is.
    at: Vec<u32>,
    rows: Vec<(u64, u64)>,
}

impl Default for PairTable {
    fn default() -> Self {
        Self { keys: vec![FREE; SLOTS], at: vec![0; SLOTS], rows: Vec::new() }
    }
}

impl PairTable {
    /// Forgets all pairs.
    pub fn clear(&mut self) {
        self.keys.fill(FREE);
        self.rows.clear();
    }

    /// Counts so many pixels more of a pair.
    pub fn add(&mut self, truth: u32, proposal: u32, pixels: u64) {
        let key = u64::from(truth) << 32 | u64::from(proposal);
        let slot = self.slot(key);
        if self.keys[slot] == key {
            self.rows[self.at[slot] as usize].1 += pixels;
            return;
        }
        self.keys[slot] = key;
        self.at[slot] = self.rows.len() as u32;
        self.rows.push((key, pixels));
        if self.rows.len() * 2 > self.keys.len() {
            self.grow();
        }
    }

    /// The pairs in the order in which they came first: labels in truth and proposal, and pixels.
    pub fn pairs(&self) -> impl Iterator<Item = (u32, u32, u64)> {
        self.rows.iter().map(|&(key, pixels)| ((key >> 32) as u32, key as u32, pixels))
    }

    /// Where a pair is, or is to be.
    fn slot(&self, key: u64) -> usize {
        let mask = self.keys.len() - 1;
        // The upper bits of a product with the golden ratio are well mixed (Knuth, volume 3, 6.4).
        let mut slot = (key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as usize & mask;
        while self.keys[slot] != key && self.keys[slot] != FREE {
            slot = (slot + 1) & mask;
        }
        slot
    }

    fn grow(&mut self) {
        let slots = self.keys.len() * 2;
        (self.keys, self.at) = (vec![FREE; slots], vec![0; slots]);
        for row in 0..self.rows.len() {
            let slot = self.slot(self.rows[row].0);
            (self.keys[slot], self.at[slot]) = (self.rows[row].0, row as u32);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn pairs_are_counted_beyond_the_first_size_and_come_in_order() {
        let mut table = PairTable::default();
        for round in 0..2 {
            table.clear();
            let mut expected = BTreeMap::new();
            let mut order = Vec::new();
            for i in 0..40_000u64 {
                let (truth, proposal) = ((i * i % 97) as u32, (i * 7 % 331) as u32);
                table.add(truth, proposal, i % 5);
                let count = expected.entry((truth, proposal)).or_insert_with(|| {
                    order.push((truth, proposal));
                    0
                });
                *count += i % 5;
            }
            assert!(order.len() > SLOTS, "it has to grow");
            let found: Vec<_> = table.pairs().collect();
            let expected: Vec<_> = order.iter().map(|&(t, p)| (t, p, expected[&(t, p)])).collect();
            assert_eq!(found, expected, "round {round}");
        }
    }
}
