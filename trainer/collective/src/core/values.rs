//! Floats on their way: shared rather than copied, in memory that is used again.

use std::ops::{Deref, Range};
use std::sync::{Arc, Mutex, PoisonError};

/// Vectors that a [`Pool`] keeps for later at most: what is in flight on a loopback at once. Their pages would else be given
/// back to the system and faulted in again for every chunk.
const MOST_SPARE: usize = 128;

/// Memory of chunks that were used up, for those to come.
#[derive(Debug, Clone, Default)]
pub struct Pool(Arc<Mutex<Vec<Vec<f32>>>>);

impl Pool {
    /// The floats, in used memory where there is some.
    pub fn collect(&self, floats: impl Iterator<Item = f32>) -> Values {
        let mut data = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
        data.clear();
        data.extend(floats);
        let range = 0..data.len();
        Values { data: Data::Lent(Arc::new(Lent { data, pool: self.clone() })), range }
    }

    fn give_back(&self, data: Vec<f32>) {
        let mut spare = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.len() < MOST_SPARE && data.capacity() > 0 {
            spare.push(data);
        }
    }
}

/// A vector that goes back to its pool.
#[derive(Debug)]
struct Lent {
    data: Vec<f32>,
    pool: Pool,
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.pool.give_back(std::mem::take(&mut self.data));
    }
}

#[derive(Debug, Clone)]
enum Data {
    Owned(Arc<Vec<f32>>),
    Lent(Arc<Lent>),
}

/// Part of a vector of floats, shared rather than copied.
#[derive(Debug, Clone)]
pub struct Values {
    data: Data,
    range: Range<usize>,
}

impl Values {
    /// `data[range]`; the range is cut to what is there.
    #[must_use]
    pub fn new(data: Arc<Vec<f32>>, range: Range<usize>) -> Self {
        let end = range.end.min(data.len());
        Self { range: range.start.min(end)..end, data: Data::Owned(data) }
    }

    /// The floats as a vector of their own, without a copy where nobody else holds them.
    #[must_use]
    pub fn into_vec(self) -> Vec<f32> {
        match self.data {
            Data::Owned(data) if self.range.len() == data.len() => {
                Arc::try_unwrap(data).unwrap_or_else(|shared| shared.as_ref().clone())
            }
            Data::Owned(data) => data[self.range].to_vec(),
            Data::Lent(lent) => lent.data[self.range.clone()].to_vec(),
        }
    }

    /// `left + right`, elementwise, over the memory of either that nobody else holds.
    pub(super) fn sum(mut left: Self, mut right: Self) -> Self {
        if let Some(sum) = left.get_mut() {
            sum.iter_mut().zip(right.iter()).for_each(|(left, right)| *left += right);
            left
        } else if let Some(sum) = right.get_mut() {
            sum.iter_mut().zip(left.iter()).for_each(|(right, left)| *right += *left);
            right
        } else {
            left.iter().zip(right.iter()).map(|(left, right)| left + right).collect::<Vec<f32>>().into()
        }
    }

    fn get_mut(&mut self) -> Option<&mut [f32]> {
        let data = match &mut self.data {
            Data::Owned(data) => Arc::get_mut(data)?,
            Data::Lent(lent) => &mut Arc::get_mut(lent)?.data,
        };
        Some(&mut data[self.range.clone()])
    }
}

impl From<Vec<f32>> for Values {
    fn from(data: Vec<f32>) -> Self {
        Self { range: 0..data.len(), data: Data::Owned(Arc::new(data)) }
    }
}

impl Deref for Values {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        let data = match &self.data {
            Data::Owned(data) => data.as_ref(),
            Data::Lent(lent) => &lent.data,
        };
        &data[self.range.clone()]
    }
}

/// By bits, so that a NaN equals itself.
impl PartialEq for Values {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().zip(other.iter()).all(|(a, b)| a.to_bits() == b.to_bits())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_is_written_over_what_nobody_else_holds() {
        let pool = Pool::default();
        let shared: Values = vec![1.0, 2.0].into();
        let sum = Values::sum(shared.clone(), pool.collect([3.0, 4.0].into_iter()));
        assert_eq!(sum[..], [4.0, 6.0]);
        assert_eq!(shared[..], [1.0, 2.0]);
        let sum = Values::sum(pool.collect([3.0, 4.0].into_iter()), shared.clone());
        assert_eq!(sum[..], [4.0, 6.0]);
        let sum = Values::sum(shared.clone(), shared.clone());
        assert_eq!(sum[..], [2.0, 4.0]);
        assert_eq!(shared[..], [1.0, 2.0]);
    }

    #[test]
    fn memory_comes_back_once_the_last_holder_is_gone() {
        let pool = Pool::default();
        let first = pool.collect([1.0; 8].into_iter());
        let memory = first.as_ptr();
        let second = first.clone();
        drop(first);
        assert_ne!(pool.collect([2.0].into_iter()).as_ptr(), memory);
        drop(second);
        let again = pool.collect([3.0; 2].into_iter());
        assert_eq!((again.as_ptr(), again.to_vec()), (memory, vec![3.0; 2]));
    }
}
