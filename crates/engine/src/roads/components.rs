//! Which junctions are connected, one way or both ways.

use super::network::NONE;

/// Numbers the strongly connected components of a graph in CSR form; gives the component of each junction and the number of the largest.
/// Tarjan's algorithm with a stack of its own: linear, and no street is too long for it.
pub(crate) fn strong(first: &[u32], heads: &[u32]) -> (Vec<u32>, u32) {
    let junctions = first.len() - 1;
    let (mut component, mut low, mut seen) = (vec![NONE; junctions], vec![0_u32; junctions], vec![NONE; junctions]);
    let (mut open, mut calls) = (Vec::new(), Vec::new());
    let (mut clock, mut count) = (0, 0);
    let mut sizes: Vec<u32> = Vec::new();
    for root in 0..junctions as u32 {
        if seen[root as usize] != NONE {
            continue;
        }
        calls.push((root, first[root as usize]));
        while let Some((v, next)) = calls.last_mut() {
            let at = *v as usize;
            if *next == first[at] && seen[at] == NONE {
                (seen[at], low[at]) = (clock, clock);
                clock += 1;
                open.push(*v);
            }
            if *next < first[at + 1] {
                let head = heads[*next as usize];
                *next += 1;
                if seen[head as usize] == NONE {
                    calls.push((head, first[head as usize]));
                } else if component[head as usize] == NONE {
                    low[at] = low[at].min(seen[head as usize]);
                }
                continue;
            }
            let v = *v;
            if low[at] == seen[at] {
                let mut size = 0;
                while let Some(member) = open.pop() {
                    component[member as usize] = count;
                    size += 1;
                    if member == v {
                        break;
                    }
                }
                sizes.push(size);
                count += 1;
            }
            calls.pop();
            if let Some((caller, _)) = calls.last() {
                let caller = *caller as usize;
                low[caller] = low[caller].min(low[at]);
            }
        }
    }
    let largest = (0..count).max_by_key(|index| (sizes[*index as usize], std::cmp::Reverse(*index)));
    (component, largest.unwrap_or(NONE))
}

/// A number for each junction, the same for all that are connected when directions do not count.
pub(crate) fn weak(junctions: usize, ends: &[[u32; 2]]) -> Vec<u32> {
    let mut parent: Vec<u32> = (0..junctions as u32).collect();
    for [a, b] in ends {
        let (a, b) = (root(&mut parent, *a), root(&mut parent, *b));
        parent[a.max(b) as usize] = a.min(b);
    }
    (0..junctions as u32).map(|v| root(&mut parent, v)).collect()
}

/// The end of the chain of parents, which is halved on the way.
fn root(parent: &mut [u32], mut v: u32) -> u32 {
    while parent[v as usize] != v {
        parent[v as usize] = parent[parent[v as usize] as usize];
        v = parent[v as usize];
    }
    v
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn two_junctions_share_a_component_exactly_if_each_reaches_the_other(
            arcs in proptest::collection::vec((0_u32..12, 0_u32..12), 0..40),
        ) {
            let mut arcs = arcs;
            arcs.sort_unstable();
            let first: Vec<u32> = (0..=12).map(|v| arcs.partition_point(|(tail, _)| *tail < v) as u32).collect();
            let heads: Vec<u32> = arcs.iter().map(|(_, head)| *head).collect();
            let (component, _) = strong(&first, &heads);
            let mut reach = [[false; 12]; 12];
            (0..12).for_each(|v| reach[v][v] = true);
            arcs.iter().for_each(|(a, b)| reach[*a as usize][*b as usize] = true);
            for k in 0..12 {
                for a in 0..12 {
                    for b in 0..12 {
                        reach[a][b] |= reach[a][k] && reach[k][b];
                    }
                }
            }
            for a in 0..12 {
                for b in 0..12 {
                    prop_assert_eq!(component[a] == component[b], reach[a][b] && reach[b][a]);
                }
            }
        }
    }
}
