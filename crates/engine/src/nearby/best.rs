//! The nearest so far.

/// A driver by its place in the index, and the square of its distance in Earth radii.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) chord_2: f64,
    pub(super) slot: u32,
}

/// At most `most` candidates, nearest first. Insertion into a short sorted list beats a heap up to some hundred.
pub(super) struct Best<'a> {
    list: &'a mut Vec<Candidate>,
    most: usize,
    /// Whoever is not nearer than this need not come in.
    pub(super) worst_2: f64,
    /// Its square root.
    pub(super) worst: f64,
}

impl<'a> Best<'a> {
    pub(super) fn new(list: &'a mut Vec<Candidate>, most: usize) -> Self {
        let mut best = Self { list, most, worst_2: 0.0, worst: 0.0 };
        best.clear();
        best
    }

    pub(super) fn clear(&mut self) {
        self.list.clear();
        self.worst_2 = if self.most == 0 { 0.0 } else { f64::INFINITY };
        self.worst = self.worst_2;
    }

    pub(super) fn is_full(&self) -> bool {
        self.list.len() == self.most
    }

    /// Takes in one that is nearer than [`Self::worst_2`].
    pub(super) fn insert(&mut self, candidate: Candidate) {
        if !self.is_full() {
            self.list.push(candidate);
        }
        // The last place is free now, or its owner the one to go: those farther away move up by one.
        let mut place = self.list.len() - 1;
        while place > 0 && self.list[place - 1].chord_2 > candidate.chord_2 {
            self.list[place] = self.list[place - 1];
            place -= 1;
        }
        self.list[place] = candidate;
        if self.is_full() {
            self.worst_2 = self.list.last().map_or(0.0, |worst| worst.chord_2);
            self.worst = self.worst_2.sqrt();
        }
    }
}
