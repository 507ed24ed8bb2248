//! `lockstep` on this machine, with real images: the same weights on any number of executors and through any loss.

use std::process::ExitCode;

pub(crate) use lockstep_tests::lockstep;
use lockstep_tests::suite::{self, Test};

mod analyze;
mod chaos;
mod checkpoints;
mod executors;
mod failures;
mod foreign;
mod golden;
mod kernels;
mod kill_points;
mod partition;
mod pytorch;
mod same_weights;
mod synthetic;
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
        None => same_weights {
            any_number_of_executors_gives_the_same_weights
            a_run_resumed_by_another_number_of_executors_gives_the_same_weights
            a_run_asked_twice_to_stop_stops_at_once_and_resumes_to_the_same_weights
            killed_executors_change_nothing
            a_finished_run_is_reported_and_fresh_starts_it_over
        }
        None => chaos {
            executors_that_are_killed_frozen_and_scaled_give_the_same_weights
        }
        None => checkpoints {
            checkpoints_are_listed_with_what_their_run_says_of_them
            a_damaged_or_missing_object_is_found_and_named
            pruning_keeps_what_it_is_told_to_and_a_dry_run_keeps_all
        }
        None => kernels {
            native_jobs_load_no_libtorch
            a_job_whose_kernels_are_not_there_is_refused_with_the_remedy
            instructions_that_do_not_exist_are_a_usage_error
        }
        None => golden {
            every_instruction_set_gives_the_golden_weights
            executors_with_different_instruction_sets_give_the_golden_weights_together
        }
        None => failures {
            a_flipped_bit_is_reported_with_file_and_offset
            a_truncated_shard_is_reported_with_file_and_offset
            a_label_out_of_range_is_reported_with_file_and_offset
            an_image_of_the_wrong_size_is_reported_with_file_and_offset
            a_learning_rate_that_diverges_ends_with_its_step_and_the_last_good_checkpoint
            a_spec_that_cannot_run_is_refused_with_field_and_remedy
            preparing_over_other_data_is_refused
        }
        None => tracking {
            a_job_without_tensorboard_has_a_run_log_all_the_same
        }
        lockstep_tests::tracking::lacks() => tracking {
            tensorboard_shows_every_step_once_whoever_died
        }
        pytorch::lacks() => pytorch {
            plain_pytorch_loads_a_checkpoint_and_finds_the_same_accuracy
        }
    };
    if std::env::var("LOCKSTEP_TESTS").is_ok_and(|tests| tests == "acceptance") {
        tests.extend(tests! {
            None => analyze {
                one_process_and_parts_write_the_same_report
                missing_parts_are_named
                a_flipped_bit_is_told_and_fails_only_where_that_was_asked_for
            }
            lockstep_tests::tracking::lacks() => foreign {
                shards_that_tensorflow_wrote_give_the_same_weights_in_every_form
                images_in_another_layout_than_said_are_refused_with_what_was_measured
                compressed_shards_larger_than_the_cache_are_refused_with_the_remedy
            }
            executors::Cpu::lacks_emulated() => golden {
                executors_on_other_cpus_give_the_golden_weights_together
            }
            None => same_weights { two_epochs_of_all_images_give_the_same_weights_on_1_to_4_executors }
            None => chaos { a_hundred_killed_executors_lose_no_step }
            None => kill_points {
                a_job_killed_at_its_end_or_while_it_prunes_ends_with_the_same_result
                early_stopping_survives_a_kill_after_every_evaluation
            }
            partition::lacks() => partition { both_sides_of_a_link_that_is_cut_go_on_and_agree_when_it_heals }
        });
    }
    suite::main(lockstep::Data::slice, tests)
}
