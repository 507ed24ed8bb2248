//! Reads single records again, from where they were found.

use futures::{Stream, StreamExt};
use lockstep_records::scan::{Found, Scanner};
use snafu::ResultExt;

use crate::{Result, error::ReadSnafu, record::Features, repeats::Place, split::Split};

/// Requests to the store in flight.
const CONCURRENT_READS: usize = 16;
/// A first request is this long: most records are shorter.
const LIKELY_BYTES: u64 = 16 << 10;

/// The records at `places`, in this order; `None` for one that has changed since it was found.
pub(crate) fn read<'a>(
    splits: &'a [Split],
    places: impl IntoIterator<Item = Place> + 'a,
) -> impl Stream<Item = Result<(Place, Option<Features>)>> + 'a {
    let reads = places.into_iter().map(move |place| async move {
        let features = features(&splits[place.split], &place).await?;
        Ok((place, features))
    });
    futures::stream::iter(reads).buffered(CONCURRENT_READS)
}

async fn features(split: &Split, place: &Place) -> Result<Option<Features>> {
    let number = place.shard as usize;
    let shard = &split.shards[number];
    let size = shard.bytes.unwrap_or(0);
    let mut scanner = Scanner::new();
    let mut next = place.offset;
    let mut wanted = LIKELY_BYTES;
    while wanted > 0 && next < size {
        let range = next..size.min(next.saturating_add(wanted));
        next = range.end;
        let read = split.store.get_range(&shard.name, range).await;
        scanner.push(read.with_context(|_| ReadSnafu { shard: split.shard_uri(number) })?);
        wanted = scanner.missing_bytes();
    }
    Ok(match scanner.next_found() {
        Some(Found::Record { data, .. }) => Features::of(data, &split.format).ok(),
        _ => None,
    })
}
