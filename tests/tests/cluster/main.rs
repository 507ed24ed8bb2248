//! The whole product on a real cluster: chart, operator, executors, volumes.

use std::path::Path;
use std::process::ExitCode;

use lockstep_tests::cluster::Cluster;
use lockstep_tests::machine;
use lockstep_tests::suite::{self, Test};

mod harness;

fn main() -> ExitCode {
    let cluster = machine::lacks_for_cluster();
    macro_rules! tests {
        ($($lacks:expr => $module:ident { $($test:ident)* })*) => {
            vec![$($(Test {
                name: concat!(stringify!($module), "::", stringify!($test)),
                lacks: $lacks.clone(),
                run: $module::$test,
            },)*)*]
        };
    }
    let tests = tests! {
        cluster => harness {
            names_and_services_lead_to_pods
            a_killed_cluster_leaves_nothing_behind
        }
    };
    suite::main(|| Cluster::start(Path::new(env!("CARGO_BIN_EXE_cluster"))), tests)
}
