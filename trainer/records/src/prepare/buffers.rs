//! Memory for shards, used again: the system clears every page that a program touches for the first time.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

/// Buffers that no shard needs at present; never more than there were shards in memory at once.
#[derive(Debug, Default)]
pub(super) struct Buffers(Mutex<Vec<Vec<u8>>>);

impl Buffers {
    /// An empty buffer for so many bytes.
    pub(super) fn take(&self, capacity: usize) -> Vec<u8> {
        let mut buffer = self.lock().pop().unwrap_or_default();
        buffer.clear();
        buffer.reserve(capacity);
        buffer
    }

    /// Keeps the memory of a shard, unless somebody else still holds it.
    pub(super) fn give_back(&self, shard: Bytes) {
        if let Ok(shard) = shard.try_into_mut() {
            self.lock().push(shard.into());
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Vec<u8>>> {
        // A push or a pop leaves the list whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_used_again_and_what_stood_there_is_gone() {
        let buffers = Buffers::default();
        let mut first = buffers.take(100);
        first.extend([7; 100]);
        let (place, shard) = (first.as_ptr(), Bytes::from(first));
        let written = shard.clone();
        drop(written);
        buffers.give_back(shard);
        let second = buffers.take(50);
        assert_eq!((second.as_ptr(), second.len()), (place, 0));
        assert!(buffers.take(10).capacity() >= 10);
    }

    #[test]
    fn memory_that_somebody_still_reads_is_left_alone() {
        let buffers = Buffers::default();
        let shard = Bytes::from(vec![7; 100]);
        let reader = shard.clone();
        buffers.give_back(shard);
        assert_eq!(buffers.take(0).capacity(), 0);
        assert_eq!(reader, [7; 100][..]);
    }
}
