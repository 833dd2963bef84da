//! A map for values of some kilobytes. They lie close together in chunks and never move: a box for each would be rounded up by the
//! allocator, of 6.3 KiB to 7, and one list of all would be copied whenever it grows. Room once taken is used again, not given back.

use std::hash::Hash;

use ahash::AHashMap;

/// Values in one chunk.
const CHUNK: usize = 32;

/// See the module.
pub struct ChunkMap<K, V> {
    places: AHashMap<K, u32>,
    chunks: Vec<Vec<Option<V>>>,
    free: Vec<u32>,
}

impl<K, V> Default for ChunkMap<K, V> {
    fn default() -> Self {
        Self { places: AHashMap::new(), chunks: Vec::new(), free: Vec::new() }
    }
}

impl<K: Copy + Eq + Hash, V> ChunkMap<K, V> {
    /// Puts a value in; one of the same key is dropped.
    pub fn insert(&mut self, key: K, value: V) {
        let place = match self.places.get(&key) {
            Some(place) => *place,
            None => self.free.pop().unwrap_or_else(|| self.grow()),
        };
        self.places.insert(key, place);
        *self.at(place) = Some(value);
    }

    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let place = *self.places.get(key)?;
        self.at(place).as_mut()
    }

    pub fn remove(&mut self, key: &K) -> Option<V> {
        let place = self.places.remove(key)?;
        self.free.push(place);
        self.at(place).take()
    }

    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    pub fn keys(&self) -> impl Iterator<Item = K> {
        self.places.keys().copied()
    }

    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.chunks.iter_mut().flatten().flatten()
    }

    fn at(&mut self, place: u32) -> &mut Option<V> {
        &mut self.chunks[place as usize / CHUNK][place as usize % CHUNK]
    }

    fn grow(&mut self) -> u32 {
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        let before = (self.chunks.len() - 1) * CHUNK;
        let chunk = self.chunks.last_mut().expect("there is one now");
        chunk.push(None);
        (before + chunk.len() - 1) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_a_map_whose_room_is_used_again(steps in prop::collection::vec((any::<bool>(), 0..100_u32), 0..400)) {
            let (mut map, mut plain, mut most) = (ChunkMap::default(), HashMap::new(), 0);
            for (turn, (insert, key)) in steps.into_iter().enumerate() {
                if insert {
                    map.insert(key, turn);
                    plain.insert(key, turn);
                } else {
                    prop_assert_eq!(map.remove(&key), plain.remove(&key));
                }
                most = most.max(plain.len());
                for key in 0..100 {
                    prop_assert_eq!(map.get_mut(&key), plain.get_mut(&key));
                }
                let (mut values, mut expected): (Vec<_>, Vec<_>) =
                    (map.values_mut().map(|value| *value).collect(), plain.values().copied().collect());
                values.sort_unstable();
                expected.sort_unstable();
                prop_assert_eq!(values, expected);
                prop_assert_eq!(map.is_empty(), plain.is_empty());
                prop_assert_eq!(map.keys().count(), plain.len());
            }
            prop_assert_eq!(map.chunks.iter().map(Vec::len).sum::<usize>(), most);
        }
    }
}
