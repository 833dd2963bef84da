//! The skeleton of a customizable contraction hierarchy: which shortcuts exist, whatever they cost.
//!
//! Junctions are numbered by rank; every arc leads from a lower to a higher one. The arcs are the chordal completion of the roads
//! under that order, so any weights can be poured into them ([`super::Metric`]), and the higher neighbours of a junction all
//! lie on the path from it to the root of the elimination tree, whose parent is the lowest of them.
//! (Dibbelt, Strasser, Wagner: Customizable Contraction Hierarchies, ACM JEA 21, 2016.)

use super::network::NONE;

/// See the module.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    /// Arcs upwards from `v`: `up_first[v]..up_first[v + 1]`, by rising head.
    pub(crate) up_first: Vec<u32>,
    pub(crate) up_head: Vec<u32>,
    /// Depth of the head of each arc: what climbs look at, in the order in which they do.
    pub(crate) up_depth: Vec<u16>,
    pub(crate) arc_tail: Vec<u32>,
    /// Arcs that end in `x`: `down_arcs[down_first[x]..down_first[x + 1]]`, by rising tail.
    pub(crate) down_first: Vec<u32>,
    pub(crate) down_arcs: Vec<u32>,
    /// Junctions between `v` and the root of its tree.
    pub(crate) depth: Vec<u16>,
    /// For every road arc (as in `Network::arc_streets`): its arc here, times two, plus one if it leads down.
    pub(crate) of_road: Vec<u32>,
}

/// The order is so bad that the shortcuts would outgrow the roads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadOrder;

/// Shortcuts per road arc beyond which an order is refused. Real cities stay below 3.
const SHORTCUTS_MOST: usize = 24;

impl Hierarchy {
    /// From road arcs in order of their tails; junction numbers are ranks.
    pub(crate) fn build(junctions: usize, roads: impl Iterator<Item = (u32, u32)> + Clone) -> Result<Self, BadOrder> {
        let mut above: Vec<Vec<u32>> = vec![Vec::new(); junctions];
        let mut road_count = 0;
        for (tail, head) in roads.clone() {
            road_count += 1;
            if tail != head {
                above[tail.min(head) as usize].push(tail.max(head));
            }
        }
        let most = SHORTCUTS_MOST * (road_count + 16);
        let (mut arcs, mut merged) = (0_usize, Vec::new());
        for v in 0..junctions {
            let mut own = std::mem::take(&mut above[v]);
            own.sort_unstable();
            own.dedup();
            arcs += own.len();
            if arcs > most {
                return Err(BadOrder);
            }
            if let Some((&parent, rest)) = own.split_first() {
                // What was gathered so far is kept sorted, so that a junction of high degree is merged, not sorted anew.
                let theirs = &mut above[parent as usize];
                merged.clear();
                merged.extend_from_slice(theirs);
                merged.extend_from_slice(rest);
                if merged.len() > 64 {
                    merged.sort_unstable();
                    merged.dedup();
                }
                std::mem::swap(theirs, &mut merged);
            }
            above[v] = own;
        }
        let mut built = Self { up_first: Vec::with_capacity(junctions + 1), ..Self::default() };
        (built.up_head, built.arc_tail) = (Vec::with_capacity(arcs), Vec::with_capacity(arcs));
        for (v, own) in above.iter().enumerate() {
            built.up_first.push(built.up_head.len() as u32);
            built.up_head.extend_from_slice(own);
            built.arc_tail.resize(built.up_head.len(), v as u32);
        }
        built.up_first.push(built.up_head.len() as u32);
        drop(above);
        built.turn_down(junctions);
        built.measure_depths(junctions)?;
        built.of_road = roads.map(|(tail, head)| built.place_of(tail, head)).collect();
        Ok(built)
    }

    fn turn_down(&mut self, junctions: usize) {
        self.down_first = vec![0; junctions + 1];
        for head in &self.up_head {
            self.down_first[*head as usize + 1] += 1;
        }
        for x in 0..junctions {
            self.down_first[x + 1] += self.down_first[x];
        }
        let mut next = self.down_first.clone();
        self.down_arcs = vec![0; self.up_head.len()];
        for (arc, head) in self.up_head.iter().enumerate() {
            let place = &mut next[*head as usize];
            self.down_arcs[*place as usize] = arc as u32;
            *place += 1;
        }
    }

    fn measure_depths(&mut self, junctions: usize) -> Result<(), BadOrder> {
        self.depth = vec![0; junctions];
        for v in (0..junctions as u32).rev() {
            let parent = self.parent(v);
            if parent != NONE {
                self.depth[v as usize] = self.depth[parent as usize].checked_add(1).ok_or(BadOrder)?;
            }
        }
        self.up_depth = self.up_head.iter().map(|head| self.depth[*head as usize]).collect();
        Ok(())
    }

    fn place_of(&self, tail: u32, head: u32) -> u32 {
        if tail == head {
            return NONE;
        }
        match self.arc(tail.min(head), tail.max(head)) {
            Some(arc) => arc * 2 + u32::from(tail > head),
            None => NONE,
        }
    }

    /// The arc between two junctions, the lower first.
    pub(crate) fn arc(&self, low: u32, high: u32) -> Option<u32> {
        let up = self.up(low);
        self.up_head[up.clone()].binary_search(&high).ok().map(|at| (up.start + at) as u32)
    }

    pub(crate) fn up(&self, v: u32) -> std::ops::Range<usize> {
        self.up_first[v as usize] as usize..self.up_first[v as usize + 1] as usize
    }

    pub(crate) fn down(&self, x: u32) -> &[u32] {
        &self.down_arcs[self.down_first[x as usize] as usize..self.down_first[x as usize + 1] as usize]
    }

    /// Parent in the elimination tree; [`NONE`] for a root.
    pub(crate) fn parent(&self, v: u32) -> u32 {
        let up = self.up(v);
        if up.is_empty() { NONE } else { self.up_head[up.start] }
    }

    /// The lowest junction that is on both ways to the root. `None`: they lie in different trees.
    pub(crate) fn common_ancestor(&self, mut a: u32, mut b: u32) -> Option<u32> {
        while a != b {
            // Of two junctions on the way up, the lower-ranked one can be no ancestor of the other.
            if a < b {
                a = self.parent(a);
            } else {
                b = self.parent(b);
            }
            if a == NONE || b == NONE {
                return None;
            }
        }
        Some(a)
    }

    pub(crate) fn arc_count(&self) -> usize {
        self.up_head.len()
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        let words = [&self.up_first, &self.up_head, &self.arc_tail, &self.down_first, &self.down_arcs, &self.of_road];
        words.iter().map(|words| words.capacity() * 4).sum::<usize>()
            + (self.depth.capacity() + self.up_depth.capacity()) * 2
    }
}
