//! Turn restrictions: a restricted junction is split, so that who comes from one street finds only the turns allowed from there.

use super::osm::Map;

/// Street as the build knows it, before numbers are final.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends {
    pub(crate) tail: u32,
    pub(crate) head: u32,
    pub(crate) way: i64,
}

/// Arcs of the network: (tail, street). Heads of restricted streets are moved to copies of their junctions, numbered from `junctions` up.
///
/// `forbidden` and `only` are (junction, from way, to way). Returns for each copy the junction it stands for.
pub(crate) fn split(
    streets: &mut [Ends],
    junctions: u32,
    forbidden: &[(u32, i64, i64)],
    only: &[(u32, i64, i64)],
) -> (Vec<(u32, u32)>, Vec<u32>) {
    let mut arriving: Map<u32, Vec<u32>> = Map::default();
    let mut leaving: Map<u32, Vec<u32>> = Map::default();
    let restricted: Map<u32, ()> = forbidden.iter().chain(only).map(|(junction, ..)| (*junction, ())).collect();
    for (id, street) in streets.iter().enumerate() {
        if restricted.contains_key(&street.head) {
            arriving.entry(street.head).or_default().push(id as u32);
        }
        if restricted.contains_key(&street.tail) {
            leaving.entry(street.tail).or_default().push(id as u32);
        }
    }
    let mut arcs: Vec<(u32, u32)> = streets.iter().enumerate().map(|(id, street)| (street.tail, id as u32)).collect();
    let heads: Vec<u32> = streets.iter().map(|street| street.head).collect();
    let mut copies = Vec::new();
    let mut order: Vec<u32> = restricted.keys().copied().collect();
    order.sort_unstable();
    for junction in order {
        let (Some(arriving), Some(leaving)) = (arriving.get(&junction), leaving.get(&junction)) else { continue };
        for from in arriving {
            let from_way = streets[*from as usize].way;
            let to_ways = |list: &[(u32, i64, i64)]| -> Vec<i64> {
                list.iter().filter(|(at, from, _)| (*at, *from) == (junction, from_way)).map(|(.., to)| *to).collect()
            };
            let (no, must) = (to_ways(forbidden), to_ways(only));
            // An order that leads nowhere (its way is shut, or not in the extract) must not shut the junction.
            let must_exists = leaving.iter().any(|to| must.contains(&streets[*to as usize].way));
            let allowed = |to: &u32| {
                let way = streets[*to as usize].way;
                // A way that passes through is the same way on both sides: what is meant is the turn, not the way back or on.
                let back = heads[*to as usize] == streets[*from as usize].tail && way == from_way;
                let shut = no.contains(&way) && (way != from_way || back);
                !shut && (!must_exists || must.contains(&way) && !(back && must.len() == 1 && way == from_way))
            };
            let open: Vec<u32> = leaving.iter().copied().filter(allowed).collect();
            if open.len() == leaving.len() {
                continue;
            }
            let copy = junctions + copies.len() as u32;
            copies.push(junction);
            arcs.extend(open.into_iter().map(|to| (copy, to)));
            streets[*from as usize].head = copy;
        }
    }
    (arcs, copies)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A crossing at junction 0 with arms to 1..=4, each a two-way way 10..=40. Where may one go, coming from arm 1?
    #[track_caller]
    fn check(forbidden: &[(u32, i64, i64)], only: &[(u32, i64, i64)], mut expect: Vec<u32>) {
        let mut streets = Vec::new();
        for arm in 1..=4_u32 {
            let way = i64::from(arm) * 10;
            streets.push(Ends { tail: arm, head: 0, way });
            streets.push(Ends { tail: 0, head: arm, way });
        }
        let (arcs, _) = split(&mut streets, 5, forbidden, only);
        let at = streets[0].head;
        let mut open: Vec<u32> =
            arcs.iter().filter(|(tail, _)| *tail == at).map(|(_, street)| streets[*street as usize].head).collect();
        open.sort_unstable();
        expect.sort_unstable();
        assert_eq!(open, expect);
    }

    #[test]
    fn forbidden_turns_are_gone_and_others_stay() {
        check(&[], &[], vec![1, 2, 3, 4]);
        check(&[(0, 10, 30)], &[], vec![1, 2, 4]);
        check(&[(0, 10, 10)], &[], vec![2, 3, 4]);
        check(&[], &[(0, 10, 20)], vec![2]);
        check(&[], &[(0, 10, 99)], vec![1, 2, 3, 4]);
        check(&[(0, 20, 30)], &[], vec![1, 2, 3, 4]);
    }
}
