//! Reads single records again, from where they were found.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt};
use lockstep_records::scan::{Found, Scanner};
use snafu::ResultExt;

use crate::{
    Error, Result,
    content::{Content, Failed},
    error::{ReadSnafu, WorkerSnafu},
    record::Features,
    repeats::Place,
    split::Split,
};

/// Requests to the store in flight.
const CONCURRENT_READS: usize = 16;
/// A first request is this long: most records are shorter.
const LIKELY_BYTES: u64 = 16 << 10;

/// The records at `places`, in any order; without those that have changed since they were found.
pub(crate) fn read<'a>(
    splits: &'a Arc<[Split]>,
    places: impl IntoIterator<Item = Place> + 'a,
) -> impl Stream<Item = Result<(Place, Features)>> + 'a {
    let is_packed = |place: &Place| splits[place.split].shards[place.shard as usize].compression.is_some();
    let (packed, plain): (Vec<_>, Vec<_>) = places.into_iter().partition(is_packed);
    let mut shards: BTreeMap<(usize, u32), Vec<Place>> = BTreeMap::new();
    packed.into_iter().for_each(|place| shards.entry((place.split, place.shard)).or_default().push(place));

    let plain = plain.into_iter().map(move |place| async move {
        let features = plain_record(&splits[place.split], &place).await?;
        Ok::<_, Error>(features.map(|features| (place, features)))
    });
    let plain = futures::stream::iter(plain).buffered(CONCURRENT_READS);
    let packed = futures::stream::iter(shards.into_values()).then(move |places| {
        let splits = Arc::clone(splits);
        let work = tokio::task::spawn_blocking(move || packed_records(&splits, places));
        async move { work.await.context(WorkerSnafu)? }
    });
    let packed =
        packed.map_ok(|found| futures::stream::iter(found.into_iter().map(Ok::<_, Error>))).try_flatten();
    plain.try_filter_map(|found| async move { Ok(found) }).chain(packed)
}

async fn plain_record(split: &Split, place: &Place) -> Result<Option<Features>> {
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

/// Records of one compressed shard, which has to be unpacked up to the last of them.
fn packed_records(splits: &[Split], mut places: Vec<Place>) -> Result<Vec<(Place, Features)>> {
    places.sort();
    let Some(last) = places.last().copied() else { return Ok(Vec::new()) };
    let split = &splits[last.split];
    let shard = &split.shards[last.shard as usize];
    let mut content = Content::new(split, last.shard as usize, 0..shard.bytes.unwrap_or(0));
    let mut scanner = match &shard.index {
        Some(lengths) => Scanner::indexed(lengths, 0..lengths.records()),
        None => Scanner::new(),
    };
    let mut found = Vec::new();
    while scanner.offset() <= last.offset {
        match content.next(scanner.missing_bytes()) {
            Ok(Some(block)) => scanner.push(block),
            Ok(None) | Err(Failed::Damaged(_)) => break,
            Err(Failed::Read(error)) => return Err(error),
        }
        while let Some(next) = scanner.next_found() {
            let Found::Record { offset, data } = next else { continue };
            if let Ok(at) = places.binary_search_by_key(&offset, |place| place.offset) {
                // Copied, so that none keeps its whole block in memory.
                let data = Bytes::copy_from_slice(&data);
                found.extend(Features::of(data, &split.format).ok().map(|features| (places[at], features)));
            }
        }
    }
    Ok(found)
}
