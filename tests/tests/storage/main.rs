//! `lockstep` on a real HDFS: the same weights as from files, through whatever happens to the HDFS.

use std::process::ExitCode;

use lockstep_tests::{
    hdfs,
    suite::{self, Test},
};

mod bed;
mod faults;
mod same_weights;
mod tracking;

fn main() -> ExitCode {
    macro_rules! tests {
        ($($lacks:expr => $module:ident { $($test:ident)* })*) => {
            vec![$($(Test {
                name: concat!(stringify!($module), "::", stringify!($test)),
                lacks: $lacks,
                run: $module::$test,
            },)*)*]
        };
    }
    let mut tests = tests! {
        hdfs::lacks() => same_weights {
            training_from_and_to_hdfs_gives_the_weights_of_files
        }
        hdfs::lacks().or_else(lockstep_tests::tracking::lacks) => tracking {
            a_run_log_and_event_files_on_hdfs_are_whole_as_hadoops_shell_gets_them
        }
        hdfs::lacks() => faults {
            a_datanode_killed_in_the_midst_of_reads_and_writes_changes_nothing
            flipped_bits_on_a_datanode_change_nothing
            full_storage_is_named_and_training_goes_on_when_there_is_room
        }
    };
    if std::env::var("LOCKSTEP_TESTS").is_ok_and(|tests| tests == "acceptance") {
        tests.extend(tests! {
            hdfs::lacks() => faults {
                a_frozen_datanode_changes_nothing
                a_namenode_killed_and_restarted_changes_nothing
                half_a_minute_of_safe_mode_changes_nothing
            }
        });
    }
    suite::main(bed::Bed::start, tests)
}
