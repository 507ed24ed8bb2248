//! What every store must do, whatever is behind it: one set of checks on files, HDFS and S3.

use anyhow::{Result, ensure};
use bytes::Bytes;
use futures::future::try_join_all;
use lockstep_storage::{Created, Store};
use lockstep_tests::{hdfs, s3, suite::Test};

use crate::{World, in_runtime};

/// Longer than what any client sends or fetches in one piece.
const LARGE: usize = 5 << 20;

/// Every check on every kind of store, each in a folder of its own.
pub(crate) fn tests() -> Vec<Test<World>> {
    macro_rules! on {
        ($kind:ident, $lacks:expr, $($check:ident)*) => {
            [$(Test {
                name: concat!("contract::", stringify!($kind), "::", stringify!($check)),
                lacks: $lacks,
                run: |world: &World| {
                    let store = world.$kind()?.folder(concat!("contract/", stringify!($check)))?;
                    in_runtime($check(&store))
                },
            },)*]
        };
    }
    macro_rules! checks {
        ($($check:ident)*) => {{
            let mut tests = Vec::from(on!(files, None, $($check)*));
            tests.extend(on!(hdfs, hdfs::lacks(), $($check)*));
            tests.extend(on!(s3, s3::lacks(), $($check)*));
            tests
        }};
    }
    checks! {
        what_was_written_is_read_back_whole_and_in_parts
        a_range_past_the_end_is_an_error_and_not_a_short_read
        an_object_is_created_once_and_never_changed_by_another_creator
        of_many_concurrent_creators_exactly_one_is_first
        putting_replaces_the_whole_object
        listings_are_sorted_and_relative
        a_missing_object_is_told_apart_and_deleting_it_is_fine
        what_was_deleted_is_gone_and_may_be_created_anew
    }
}

fn content(len: usize) -> Bytes {
    (0..len).map(|place| (place * 31 % 251) as u8).collect::<Vec<_>>().into()
}

async fn what_was_written_is_read_back_whole_and_in_parts(store: &Store) -> Result<()> {
    for len in [0, 1, LARGE] {
        let (path, written) = (format!("a b/{len}.bin"), content(len));
        store.put(&path, written.clone()).await?;
        ensure!(store.size(&path).await? == len as u64, "{path} has another size");
        ensure!(store.get(&path).await? == written, "{path} differs");
        let folder = store.folder("a b")?;
        ensure!(folder.get(&format!("{len}.bin")).await? == written, "{path} differs in its folder");
    }
    let (path, written) = (format!("a b/{LARGE}.bin"), content(LARGE));
    let ranges = [0..1, 511..513, LARGE / 2 - 1..LARGE / 2 + 100_000, LARGE - 1..LARGE, 0..LARGE];
    let reads = ranges.iter().map(async |range| {
        Ok::<_, anyhow::Error>((range, store.get_range(&path, range.start as u64..range.end as u64).await?))
    });
    for (range, read) in try_join_all(reads).await? {
        ensure!(read == written[range.clone()], "{range:?} differs");
    }
    Ok(())
}

async fn a_range_past_the_end_is_an_error_and_not_a_short_read(store: &Store) -> Result<()> {
    store.put("x", content(10)).await?;
    for range in [5..11, 10..11, 100..200] {
        ensure!(store.get_range("x", range.clone()).await.is_err(), "{range:?} was read from 10 bytes");
    }
    Ok(())
}

async fn an_object_is_created_once_and_never_changed_by_another_creator(store: &Store) -> Result<()> {
    ensure!(store.create("x", content(1000)).await? == Created::New, "it was there before");
    ensure!(store.create("x", content(1000)).await? == Created::Identical, "it was created twice");
    for other in [content(999), content(1001), Bytes::new()] {
        let error = match store.create("x", other).await {
            Ok(created) => anyhow::bail!("other bytes are {created:?}"),
            Err(error) => error,
        };
        ensure!(error.is_conflict() && !error.is_retryable(), "{error:?}");
    }
    ensure!(store.get("x").await? == content(1000), "another creator changed it");
    Ok(())
}

async fn of_many_concurrent_creators_exactly_one_is_first(store: &Store) -> Result<()> {
    let outcomes = try_join_all((0..8).map(|_| store.create("x", content(1000)))).await?;
    let first = outcomes.iter().filter(|created| **created == Created::New).count();
    ensure!(first == 1, "{outcomes:?}");
    Ok(())
}

async fn putting_replaces_the_whole_object(store: &Store) -> Result<()> {
    store.put("x", content(1000)).await?;
    store.put("x", content(10)).await?;
    ensure!(store.get("x").await? == content(10), "the older object is still there");
    ensure!(store.unfinished("").await?.is_empty(), "a temporary file is left");
    Ok(())
}

async fn listings_are_sorted_and_relative(store: &Store) -> Result<()> {
    for path in ["run/step-2/m", "run/step-1/m", "run/a", "run-2/a", "other"] {
        store.put(path, content(path.len())).await?;
    }
    let paths = async |store: &Store, prefix: &str| -> Result<Vec<String>> {
        let entries = store.list(prefix).await?;
        ensure!(entries.iter().all(|entry| entry.size > 0), "a size is missing: {entries:?}");
        Ok(entries.into_iter().map(|entry| entry.path).collect())
    };
    let all = paths(store, "").await?;
    ensure!(all == ["other", "run-2/a", "run/a", "run/step-1/m", "run/step-2/m"], "{all:?}");
    let below = paths(store, "run").await?;
    ensure!(below == ["run/a", "run/step-1/m", "run/step-2/m"], "{below:?}");
    let folder = paths(&store.folder("run")?, "").await?;
    ensure!(folder == ["a", "step-1/m", "step-2/m"], "{folder:?}");
    ensure!(paths(store, "nothing/here").await?.is_empty(), "there is something where nothing is");
    Ok(())
}

async fn a_missing_object_is_told_apart_and_deleting_it_is_fine(store: &Store) -> Result<()> {
    store.put("there", content(1)).await?;
    for path in ["missing", "no folder/missing"] {
        let size = store.size(path).await.err();
        ensure!(size.as_ref().is_some_and(lockstep_storage::Error::is_not_found), "size of {path}: {size:?}");
        let read = store.get(path).await.err();
        ensure!(read.as_ref().is_some_and(lockstep_storage::Error::is_not_found), "{path}: {read:?}");
        let range = store.get_range(path, 0..1).await.err();
        ensure!(range.as_ref().is_some_and(|error| !error.is_retryable()), "range of {path}: {range:?}");
        store.delete(path).await?;
    }
    Ok(())
}

async fn what_was_deleted_is_gone_and_may_be_created_anew(store: &Store) -> Result<()> {
    store.put("run/x", content(10)).await?;
    store.delete("run/x").await?;
    ensure!(store.list("").await?.is_empty(), "it is still listed");
    ensure!(store.get("run/x").await.is_err(), "it is still there");
    ensure!(store.create("run/x", content(20)).await? == Created::New, "it is in the way");
    ensure!(store.get_range("run/x", 0..20).await? == content(20), "the older object is read");
    Ok(())
}
