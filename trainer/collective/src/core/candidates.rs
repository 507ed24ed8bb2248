//! Which executors could form a view, and who proposes it: pure functions of what gossip says.

/// `c`, then by ascending index each of `eligible` that is linked to all chosen so far; ascending.
pub(super) fn candidate_set(c: u32, eligible: &[u32], linked: impl Fn(u32, u32) -> bool) -> Vec<u32> {
    let mut chosen = vec![c];
    for peer in eligible {
        if *peer != c && chosen.iter().all(|other| linked(*other, *peer)) {
            chosen.push(*peer);
        }
    }
    chosen.sort_unstable();
    chosen
}

/// Who proposes: the one of `eligible` with the largest candidate set; ties go to a member of a working view, which knows
/// where the round ends, then to the lowest index.
pub(super) fn proposer(
    eligible: &[u32],
    linked: impl Fn(u32, u32) -> bool,
    working: impl Fn(u32) -> bool,
) -> Option<u32> {
    let mut by_merit = eligible.to_vec();
    by_merit.sort_by_key(|c| (!working(*c), *c));
    let mut best: Option<(usize, u32)> = None;
    for c in by_merit {
        let size = candidate_set(c, eligible, &linked).len();
        if best.is_none_or(|(largest, _)| size > largest) {
            best = Some((size, c));
        }
        // As a rule all are linked, and nobody needs to ask further: the first one's set has them all.
        if size >= eligible.len() {
            break;
        }
    }
    best.map(|(_, c)| c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_mesh_is_proposed_by_the_lowest_index() {
        assert_eq!(candidate_set(2, &[0, 1, 2, 3], |_, _| true), vec![0, 1, 2, 3]);
        assert_eq!(proposer(&[0, 1, 2, 3], |_, _| true, |_| false), Some(0));
        assert_eq!(proposer(&[0, 1, 2, 3], |_, _| true, |c| c > 1), Some(2));
    }

    #[test]
    fn a_cut_between_two_leaves_one_of_them_spare() {
        let linked = |a: u32, b: u32| !matches!((a, b), (0, 2) | (2, 0));
        assert_eq!(candidate_set(0, &[0, 1, 2], linked), vec![0, 1]);
        assert_eq!(candidate_set(1, &[0, 1, 2], linked), vec![0, 1]);
        assert_eq!(candidate_set(2, &[0, 1, 2], linked), vec![1, 2]);
        assert_eq!(proposer(&[0, 1, 2], linked, |_| false), Some(0));
    }

    #[test]
    fn the_larger_side_proposes_even_if_it_has_the_higher_indexes() {
        let linked = |a: u32, b: u32| (a < 2) == (b < 2);
        assert_eq!(proposer(&[0, 1, 2, 3, 4], linked, |_| false), Some(2));
    }
}
