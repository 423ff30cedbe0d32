//! A map that forgets its oldest entries beyond a limit. For memories that make answers better but that nothing breaks
//! without.

use std::collections::{BTreeMap, VecDeque};

#[derive(Debug)]
pub(crate) struct Bounded<K, V> {
    entries: BTreeMap<K, V>,
    /// Its keys, in the order they came in.
    order: VecDeque<K>,
    max: usize,
}

impl<K: Ord + Clone, V> Bounded<K, V> {
    pub(crate) fn new(max: usize) -> Self {
        Self { entries: BTreeMap::new(), order: VecDeque::new(), max }
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key)
    }

    pub(crate) fn insert(&mut self, key: K, value: V) {
        if self.entries.insert(key.clone(), value).is_none() {
            self.order.push_back(key);
        }
        while self.order.len() > self.max {
            if let Some(oldest) = self.order.pop_front() {
                self.entries.remove(&oldest);
            }
        }
    }

    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        let removed = self.entries.remove(key)?;
        // Usually among the newest or the oldest; the scan is bounded by the limit either way.
        if let Some(at) = self.order.iter().position(|known| known == key) {
            self.order.remove(at);
        }
        Some(removed)
    }

    pub(crate) fn clear(&mut self) {
        self.entries.clear();
        self.order.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_forgotten_first_and_a_removed_one_makes_room() {
        let mut map = Bounded::new(2);
        map.insert(1, "a");
        map.insert(2, "b");
        map.insert(1, "A");
        map.insert(3, "c");
        assert_eq!((map.get(&1), map.get(&2), map.get(&3)), (None, Some(&"b"), Some(&"c")));
        assert_eq!(map.remove(&2), Some("b"));
        map.insert(4, "d");
        assert_eq!((map.get(&3), map.get(&4)), (Some(&"c"), Some(&"d")));
    }
}
