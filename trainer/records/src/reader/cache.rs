//! Which blocks are kept: as many as fit, and none given up while its window may still need it.
//!
//! A window of the data order touches each of its blocks again and again, at random, and then never more in the
//! epoch. So a block is dead once it was left alone for several times the usual gap between touches; until then,
//! reading single records around a full cache costs less than reading a block for one record and dropping another.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use tokio::sync::OnceCell;

/// A block left alone for this many usual gaps is dead: of those alive, one in e^8 = 3,000 looks so.
const DEAD_AFTER_GAPS: f64 = 8.0;
/// Weight of one touch in the running mean of gaps.
const GAP_WEIGHT: f64 = 1.0 / 64.0;

/// Filled by the first of those who ask for the block; the others wait for it.
pub(super) type Cell = Arc<OnceCell<Bytes>>;

#[derive(Debug)]
pub(super) struct Cache {
    limit_bytes: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    blocks: HashMap<usize, Kept>,
    bytes: u64,
    /// Touches so far.
    clock: u64,
    /// Running mean of touches between two of the same block; none before the first repetition.
    usual_gap: Option<f64>,
}

#[derive(Debug)]
struct Kept {
    cell: Cell,
    bytes: u64,
    touched: u64,
}

impl Cache {
    pub(super) fn new(limit_bytes: u64) -> Self {
        Self { limit_bytes, state: Mutex::default() }
    }

    /// The block's cell, or `None` if there is no room for it. Room is taken before the block is there, so the sum
    /// never passes the limit.
    pub(super) fn touch(&self, block: usize, bytes: u64) -> Option<Cell> {
        let mut state = self.state();
        state.clock += 1;
        let clock = state.clock;
        if let Some(kept) = state.blocks.get_mut(&block) {
            let gap = (clock - kept.touched) as f64;
            kept.touched = clock;
            let cell = Arc::clone(&kept.cell);
            let mean = state.usual_gap.unwrap_or(gap);
            state.usual_gap = Some(mean + (gap - mean) * GAP_WEIGHT);
            return Some(cell);
        }
        if bytes > self.limit_bytes {
            return None;
        }
        while state.bytes > self.limit_bytes - bytes {
            state.drop_one_dead()?;
        }
        let cell = Cell::default();
        state.bytes += bytes;
        state.blocks.insert(block, Kept { cell: Arc::clone(&cell), bytes, touched: clock });
        Some(cell)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.state().bytes
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing between lock and unlock leaves the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Gives up the block that was left alone longest, if it is dead and nobody holds it (its memory would stay).
    fn drop_one_dead(&mut self) -> Option<()> {
        let patience = self.usual_gap? * DEAD_AFTER_GAPS;
        let free = self.blocks.iter().filter(|(_, kept)| Arc::strong_count(&kept.cell) == 1);
        let (block, kept) = free.min_by_key(|(_, kept)| kept.touched)?;
        if (self.clock - kept.touched) as f64 <= patience {
            return None;
        }
        let block = *block;
        self.bytes -= self.blocks.remove(&block)?.bytes;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use lockstep_rng::{Domain, Stream};

    use super::*;

    /// How many of `touches` found their block kept.
    fn hits(cache: &Cache, touches: impl Iterator<Item = usize>) -> usize {
        let mut hits = 0;
        for block in touches {
            if let Some(cell) = cache.touch(block, 10) {
                hits += usize::from(cell.initialized());
                let _ = cell.set(Bytes::new());
            }
            assert!(cache.bytes() <= cache.limit_bytes);
        }
        hits
    }

    /// Touches as the data order makes them: window after window, each block of a window `each` times at random.
    fn windows(windows: usize, blocks: usize, each: usize) -> Vec<usize> {
        let mut touches = Vec::new();
        for window in 0..windows {
            let mut own: Vec<_> = (0..blocks * each).map(|i| window * blocks + i % blocks).collect();
            Stream::new(1, Domain::DataOrder, window as u64, 0).shuffle(&mut own);
            touches.extend(own);
        }
        touches
    }

    #[test]
    fn what_fits_is_read_once() {
        let touches = windows(1, 50, 20);
        assert_eq!(hits(&Cache::new(500), touches.into_iter()), 50 * 20 - 50);
    }

    #[test]
    fn blocks_of_past_windows_make_room_for_the_present_one() {
        let touches = windows(20, 40, 50);
        let total = touches.len();
        let hits = hits(&Cache::new(800), touches.into_iter());
        assert!(hits as f64 > 0.9 * total as f64, "{hits} of {total}");
    }

    /// With a quarter of a window's blocks kept, a quarter of its touches must hit: dropping live blocks for one
    /// record each would make it none.
    #[test]
    fn a_window_larger_than_the_cache_does_not_wash_it_out() {
        let touches = windows(1, 400, 50);
        let total = touches.len();
        let cache = Cache::new(1000);
        let hits = hits(&cache, touches.into_iter());
        assert!(hits as f64 > 0.2 * total as f64, "{hits} of {total}");
        let kept = cache.state().blocks.len();
        assert_eq!(kept, 100);
    }

    #[test]
    fn one_pass_in_order_reads_each_block_once() {
        let touches = (0..300).flat_map(|block| [block; 30]);
        assert_eq!(hits(&Cache::new(100), touches), 300 * 29);
    }

    #[test]
    fn a_block_that_somebody_holds_is_not_given_up() {
        let cache = Cache::new(10);
        let held = cache.touch(0, 10);
        (0..3).for_each(|_| drop(cache.touch(0, 10)));
        (0..100).for_each(|_| assert!(cache.touch(1, 10).is_none()));
        drop(held);
        assert!(cache.touch(1, 10).is_some());
        assert!(cache.touch(2, 11).is_none() && Cache::new(0).touch(0, 1).is_none());
    }
}
