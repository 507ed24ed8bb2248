//! `lockstep` on real servers, HDFS and S3: the same weights as from files, through whatever happens to them.

use std::{
    process::ExitCode,
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
};

use anyhow::{Context, Result};
use lockstep_storage::{Access, Store};
use lockstep_tests::{
    hdfs,
    s3::{self, S3},
    suite::{self, Test},
};

use bed::Bed;

mod bed;
mod bucket;
mod contract;
mod faults;
mod kerberos;
mod larger_than_memory;
mod prepare;
mod same_weights;
mod tracking;

/// The servers, each started when the first test needs it.
#[derive(Default)]
struct World {
    bed: OnceLock<Bed>,
    s3: OnceLock<Mutex<S3>>,
    files: OnceLock<tempfile::TempDir>,
}

impl World {
    fn bed(&self) -> Result<&Bed> {
        started(&self.bed, Bed::start)
    }

    fn s3_server(&self) -> Result<MutexGuard<'_, S3>> {
        let server = started(&self.s3, || S3::start().map(Mutex::new))?;
        Ok(server.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The whole bucket.
    fn s3(&self) -> Result<Store> {
        let server = self.s3_server()?;
        Ok(Store::open_with(&server.uri(), &Access::from_env().with_s3(server.variables()))?)
    }

    /// The whole HDFS, by its address alone.
    fn hdfs(&self) -> Result<Store> {
        Ok(Store::open(&self.bed()?.hdfs().uri())?)
    }

    fn files(&self) -> Result<Store> {
        let folder = started(&self.files, || Ok(tempfile::tempdir()?))?;
        Ok(Store::open(folder.path().to_str().context("the path is not UTF-8")?)?)
    }
}

/// What `cell` holds, made by `start` the first time. Tests run one after the other.
fn started<T>(cell: &OnceLock<T>, start: impl FnOnce() -> Result<T>) -> Result<&T> {
    if cell.get().is_none() {
        // Nobody else sets it.
        let _ = cell.set(start()?);
    }
    cell.get().context("nothing was started")
}

/// Runs `work` to its end.
fn in_runtime<T, E>(work: impl Future<Output = Result<T, E>>) -> Result<T>
where
    anyhow::Error: From<E>,
{
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)?)
}

fn main() -> ExitCode {
    macro_rules! tests {
        ($($lacks:expr, $world:ident => $given:expr, $module:ident { $($test:ident)* })*) => {
            vec![$($(Test {
                name: concat!(stringify!($module), "::", stringify!($test)),
                lacks: $lacks,
                run: |$world: &World| $module::$test($given),
            },)*)*]
        };
    }
    let mut tests = contract::tests();
    tests.extend(tests! {
        hdfs::lacks(), world => world.bed()?, same_weights {
            training_from_and_to_hdfs_gives_the_weights_of_files
            checkpoints_on_hdfs_are_listed_verified_and_pruned
        }
        s3::lacks(), world => world, bucket {
            training_from_and_to_s3_gives_the_weights_of_files
            a_missing_bucket_is_refused_at_once_and_named
        }
        hdfs::lacks().or_else(lockstep_tests::tracking::lacks), world => world.bed()?, tracking {
            a_run_log_and_event_files_on_hdfs_are_whole_as_hadoops_shell_gets_them
        }
        hdfs::lacks(), world => world.bed()?, faults {
            a_datanode_killed_in_the_midst_of_reads_and_writes_changes_nothing
        }
        hdfs::lacks(), world => world.bed()?, kerberos {
            training_with_a_keytab_gives_the_weights_of_files
            a_missing_ticket_is_refused_at_once_with_the_remedy
            a_missing_library_is_named
        }
    });
    if std::env::var("LOCKSTEP_TESTS").is_ok_and(|tests| tests == "acceptance") {
        tests.extend(tests! {
            hdfs::lacks(), world => world.bed()?, prepare {
                a_data_set_on_hdfs_is_that_in_files
            }
            s3::lacks(), world => world, prepare {
                encoded_records_in_a_bucket_train_to_the_weights_of_raw_ones
            }
            hdfs::lacks(), world => world.bed()?, faults {
                flipped_bits_on_a_datanode_change_nothing
                full_storage_is_named_and_training_goes_on_when_there_is_room
                a_killed_active_namenode_changes_nothing
                a_frozen_active_namenode_changes_nothing
                a_frozen_datanode_changes_nothing
                a_namenode_killed_and_restarted_changes_nothing
                half_a_minute_of_safe_mode_changes_nothing
            }
            hdfs::lacks(), world => world.bed()?, kerberos {
                training_with_a_ticket_cache_gives_the_weights_of_files
            }
            s3::lacks(), world => world, bucket {
                a_server_that_is_away_for_a_while_changes_nothing
            }
            hdfs::lacks(), world => world.bed()?, larger_than_memory {
                a_data_set_five_times_the_cache_trains_within_that_bound
            }
        });
    }
    suite::main(|| Ok(World::default()), tests)
}
