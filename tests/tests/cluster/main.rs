//! The whole product on a real cluster: chart, operator, executors, volumes.

use std::process::ExitCode;

use lockstep_tests::machine;
use lockstep_tests::suite::{self, Test};

mod analyze;
mod elastic;
mod endings;
mod harness;
mod hdfs;
mod job;
mod life;
mod refusal;
mod training;
mod trouble;
mod world;

fn main() -> ExitCode {
    let cluster = machine::lacks_for_cluster();
    let product = cluster.clone().or_else(machine::lacks_programs);
    let with_hdfs = product.clone().or_else(lockstep_tests::hdfs::lacks);
    macro_rules! tests {
        ($($lacks:ident => $module:ident { $($test:ident)* })*) => {
            vec![$($(Test {
                name: concat!(stringify!($module), "::", stringify!($test)),
                lacks: $lacks.clone(),
                run: $module::$test,
            },)*)*]
        };
    }
    let mut tests = tests! {
        cluster => harness {
            names_and_services_lead_to_pods
        }
        product => training {
            the_example_trains_on_two_executors_to_the_weights_of_one_process
            killed_processes_and_deleted_pods_do_not_change_the_weights
            training_goes_on_while_the_operator_is_gone
        }
        product => life {
            a_suspended_job_goes_on_where_it_was
            a_deleted_job_takes_all_its_children_along
        }
        with_hdfs => hdfs {
            the_example_reads_from_and_writes_to_hdfs
        }
        product => refusal {
            the_api_server_refuses_what_cannot_run_and_names_the_field
            what_is_not_built_yet_fails_and_names_the_field
        }
    };
    if std::env::var("LOCKSTEP_TESTS").is_ok_and(|tests| tests == "acceptance") {
        tests.extend(tests! {
            product => analyze {
                parts_on_pods_make_the_report_of_one_process
            }
            cluster => harness {
                a_killed_cluster_leaves_nothing_behind
            }
            product => elastic {
                a_job_lives_through_all_that_an_administrator_does
                an_autoscaler_finds_the_scale_of_a_job
            }
            product => endings {
                a_permanent_error_ends_the_job_at_once_with_the_executors_last_words
                crashes_are_counted_and_disruptions_are_not
                a_finished_job_goes_when_its_time_is_over
            }
            product => trouble {
                an_image_that_is_not_there_is_named
                executors_that_run_out_of_memory_end_the_job_with_the_remedy
            }
            with_hdfs => hdfs {
                full_storage_shows_in_the_status_until_there_is_room
                a_keytab_in_a_secret_opens_an_hdfs_with_kerberos
                datanodes_that_are_away_show_in_the_status_until_they_are_back
            }
        });
    }
    suite::main(world::World::start, tests)
}
