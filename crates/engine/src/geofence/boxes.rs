//! Which boxes touch a box: a packed tree of boxes that never changes.
//!
//! Boxes are sorted into slabs from west to east and in each slab from south to north, and every sixteen neighbours get a box around them,
//! level by level. All levels lie in flat arrays, so that a question reads a few runs of memory; it is asked for many fixes.

/// Boxes under one box.
const FANOUT: usize = 16;

/// West, south, east, north; rounded outward, so that nothing is missed.
type Box4 = [f32; 4];

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Boxes {
    /// From the leaves to the top, each level's boxes in order.
    levels: Vec<Box<[Box4]>>,
    /// What the leaves stand for.
    slots: Box<[u32]>,
}

impl Boxes {
    /// From boxes in degrees and what they stand for.
    pub(super) fn new(mut entries: Vec<([f64; 4], u32)>) -> Self {
        let middle = |edges: &[f64; 4], axis: usize| edges[axis] + edges[axis + 2];
        let by = |axis: usize| {
            move |a: &([f64; 4], u32), b: &([f64; 4], u32)| {
                middle(&a.0, axis).total_cmp(&middle(&b.0, axis)).then(a.1.cmp(&b.1))
            }
        };
        let leaves = entries.len().div_ceil(FANOUT);
        let slab = (leaves as f64).sqrt().ceil().max(1.0) as usize * FANOUT;
        entries.sort_unstable_by(by(0));
        for slab in entries.chunks_mut(slab) {
            slab.sort_unstable_by(by(1));
        }
        let outward = |[west, south, east, north]: [f64; 4]| {
            [(west as f32).next_down(), (south as f32).next_down(), (east as f32).next_up(), (north as f32).next_up()]
        };
        let slots = entries.iter().map(|(_, slot)| *slot).collect();
        let mut levels: Vec<Box<[Box4]>> = vec![entries.iter().map(|(edges, _)| outward(*edges)).collect()];
        while let Some(below) = levels.last().filter(|below| below.len() > FANOUT) {
            levels.push(below.chunks(FANOUT).map(around).collect());
        }
        Self { levels, slots }
    }

    /// Shows what every box that touches this one stands for, and the box.
    pub(super) fn touching(&self, edges: [f64; 4], mut show: impl FnMut(u32, &Box4)) {
        let [west, south, east, north] = edges.map(|edge| edge as f32);
        let near = [west.next_down(), south.next_down(), east.next_up(), north.next_up()];
        if let Some(top) = self.levels.len().checked_sub(1) {
            self.descend(top, 0..self.levels[top].len(), &near, &mut show);
        }
    }

    fn descend(&self, level: usize, nodes: std::ops::Range<usize>, near: &Box4, show: &mut impl FnMut(u32, &Box4)) {
        for node in nodes {
            let here = &self.levels[level][node];
            // Without short cuts: four comparisons are cheaper than a branch that is guessed wrong.
            let touches = (here[0] <= near[2]) & (here[1] <= near[3]) & (here[2] >= near[0]) & (here[3] >= near[1]);
            if !touches {
                continue;
            }
            match level.checked_sub(1) {
                None => show(self.slots[node], here),
                Some(below) => {
                    let first = node * FANOUT;
                    self.descend(below, first..(first + FANOUT).min(self.levels[below].len()), near, show);
                }
            }
        }
    }
}

fn around(boxes: &[Box4]) -> Box4 {
    let join = |a: Box4, b: &Box4| [a[0].min(b[0]), a[1].min(b[1]), a[2].max(b[2]), a[3].max(b[3])];
    boxes.iter().fold([f32::MAX, f32::MAX, f32::MIN, f32::MIN], join)
}
