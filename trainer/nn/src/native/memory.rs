//! Where buffers lie: computed once for a number of images, so that a warm step allocates nothing and memory is used
//! again as soon as its values are not needed any more.

use super::plan::{Block, BufferId, Linear, Plan, Unit};
use crate::flat::{FlatBuffer, aligned};

/// What a pass over the units is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Train,
    Evaluate,
}

/// Where the buffers of a number of images lie in one piece of memory.
#[derive(Debug)]
pub(super) struct Layout {
    mode: Mode,
    images: usize,
    /// The first value and the number of values of each buffer; none for those not used in this mode.
    places: Vec<Option<(usize, usize)>>,
    len: usize,
}

/// A buffer's values must stay from the first to the last of these moments: forward through unit `u` is `u`, the loss the
/// number of units `n`, backward through unit `u` is `2 n - u`.
#[derive(Clone, Copy)]
struct Lifetime {
    first: usize,
    last: usize,
}

impl Layout {
    pub(super) fn new(plan: &Plan, mode: Mode, images: usize) -> Self {
        let lifetimes = lifetimes(plan, mode);
        let mut places: Vec<Option<(usize, usize)>> = vec![None; plan.buffers.len()];
        let mut order: Vec<BufferId> =
            (0..plan.buffers.len()).filter(|&id| lifetimes[id].is_some()).collect();
        // The largest first leaves the smallest gaps.
        order.sort_by_key(|&id| (std::cmp::Reverse(plan.buffers[id]), id));
        let mut len = 0;
        let mut placed: Vec<(usize, usize, Lifetime)> = Vec::new();
        for id in order {
            let Some(life) = lifetimes[id] else { continue };
            let size = plan.buffers[id] * images;
            let mut start = 0;
            for &(from, to, other) in &placed {
                let together = life.first <= other.last && other.first <= life.last;
                if together && start < to && from < start + size {
                    start = to;
                }
            }
            places[id] = Some((start, size));
            len = len.max(start + aligned(size));
            placed.push((start, start + aligned(size), life));
            placed.sort_by_key(|&(from, ..)| from);
        }
        Self { mode, images, places, len }
    }

    /// Whether it is that of this pass.
    pub(super) fn is_for(&self, mode: Mode, images: usize) -> bool {
        (self.mode, self.images) == (mode, images)
    }

    fn range(&self, id: BufferId) -> std::ops::Range<usize> {
        let (start, len) = self.places[id].expect("only buffers with a lifetime are used");
        start..start + len
    }
}

fn lifetimes(plan: &Plan, mode: Mode) -> Vec<Option<Lifetime>> {
    let mut lifetimes: Vec<Option<Lifetime>> = vec![None; plan.buffers.len()];
    let mut touch = |id: BufferId, time: usize| {
        let life = lifetimes[id].get_or_insert(Lifetime { first: time, last: time });
        (life.first, life.last) = (life.first.min(time), life.last.max(time));
    };
    let units = plan.units.len();
    touch(plan.values[0].buffer, 0);
    for (time, unit) in plan.units.iter().enumerate() {
        forward_buffers(plan, unit).into_iter().for_each(|id| touch(id, time));
    }
    touch(plan.values[plan.logits].buffer, units);
    if mode == Mode::Train {
        plan.values[plan.logits].gradient.into_iter().for_each(|id| touch(id, units));
        for (index, unit) in plan.units.iter().enumerate().skip(plan.first_trainable) {
            backward_buffers(plan, unit).into_iter().for_each(|id| touch(id, 2 * units - index));
        }
    }
    lifetimes
}

fn forward_buffers(plan: &Plan, unit: &Unit) -> Vec<BufferId> {
    let of = |value: usize| plan.values[value].buffer;
    match *unit {
        Unit::Block(ref block) => vec![of(block.input), block.stored, of(block.output)],
        Unit::Flatten { input, output, .. } => vec![of(input), of(output)],
        Unit::Add { x, inner, output } => vec![of(x), of(inner), of(output)],
    }
}

fn backward_buffers(plan: &Plan, unit: &Unit) -> Vec<BufferId> {
    let gradient = |value: usize| plan.values[value].gradient;
    let found = match *unit {
        Unit::Block(Block {
            input,
            stored,
            output,
            unpooled,
            dropped,
            dense_gradient,
            residual,
            ref linear,
            ..
        }) => {
            let read = match linear {
                Linear::Convolution(_) | Linear::Dense { .. } => Some(plan.values[input].buffer),
                Linear::None | Linear::Copy => None,
            };
            vec![
                read,
                Some(stored),
                gradient(output),
                gradient(input),
                unpooled,
                dropped,
                dense_gradient,
                residual.and_then(gradient),
            ]
        }
        Unit::Flatten { input, output, .. } => vec![gradient(input), gradient(output)],
        Unit::Add { inner, output, .. } => vec![gradient(inner), gradient(output)],
    };
    found.into_iter().flatten().collect()
}

/// The memory that buffers lie in; grows, never shrinks.
#[derive(Debug)]
pub(super) struct Arena {
    memory: FlatBuffer,
}

impl Default for Arena {
    fn default() -> Self {
        Self { memory: FlatBuffer::zeros(0) }
    }
}

/// All buffers but the one that is being written.
#[derive(Clone, Copy)]
pub(super) struct Others<'a> {
    layout: &'a Layout,
    before: &'a [f32],
    after: &'a [f32],
    after_start: usize,
}

impl Others<'_> {
    /// The values of a buffer that lives now.
    pub(super) fn get(&self, id: BufferId) -> &[f32] {
        let range = self.layout.range(id);
        if range.start >= self.after_start {
            &self.after[range.start - self.after_start..range.end - self.after_start]
        } else {
            &self.before[range]
        }
    }
}

impl Arena {
    /// Makes room for a layout.
    pub(super) fn fit(&mut self, layout: &Layout) {
        if self.memory.len() < layout.len {
            // The old one first: what it holds is of no use to anybody.
            self.memory = FlatBuffer::zeros(0);
            self.memory = FlatBuffer::zeros(layout.len);
        }
    }

    pub(super) fn get(&self, layout: &Layout, id: BufferId) -> &[f32] {
        &self.memory[layout.range(id)]
    }

    /// A buffer to write to, and the others to read.
    pub(super) fn write<'a>(&'a mut self, layout: &'a Layout, id: BufferId) -> (&'a mut [f32], Others<'a>) {
        let range = layout.range(id);
        let (before, rest) = self.memory.split_at_mut(range.start);
        let (values, after) = rest.split_at_mut(range.len());
        (values, Others { layout, before, after, after_start: range.end })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::{Shape, res_net_9, two_block};
    use crate::model::Model;

    /// Overlapping buffers would overwrite each other's values.
    #[test]
    fn buffers_that_live_at_the_same_time_never_overlap() {
        let shape = Shape { height: 32, width: 32, channels: 3 };
        for layers in [two_block(10), res_net_9(10)] {
            let plan = Plan::new(&Model::new(shape, 10, &layers).unwrap());
            for mode in [Mode::Train, Mode::Evaluate] {
                let layout = Layout::new(&plan, mode, 3);
                let lifetimes = lifetimes(&plan, mode);
                let used: Vec<_> = (0..plan.buffers.len()).filter(|&id| lifetimes[id].is_some()).collect();
                assert!(used.len() >= plan.units.len());
                for (index, &a) in used.iter().enumerate() {
                    for &b in &used[..index] {
                        let (life, other) = (lifetimes[a].unwrap(), lifetimes[b].unwrap());
                        let together = life.first <= other.last && other.first <= life.last;
                        let (x, y) = (layout.range(a), layout.range(b));
                        assert!(!together || x.end <= y.start || y.end <= x.start, "{a} {b}");
                    }
                }
                let all: usize = used.iter().map(|&id| 3 * plan.buffers[id]).sum();
                assert!(layout.len < all, "memory is used again: {} of {all}", layout.len);
            }
        }
    }
}
