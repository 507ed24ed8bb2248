//! The whole product on a real cluster.

use std::path::Path;
use std::process::ExitCode;

use lockstep_tests::cluster::Cluster;
use lockstep_tests::{machine, suite};

mod harness;

fn main() -> ExitCode {
    let tests: Vec<suite::Test<Cluster>> =
        vec![("a_service_name_leads_to_its_pod", harness::a_service_name_leads_to_its_pod)];
    suite::main(
        machine::lacks_for_cluster,
        || Cluster::start(Path::new(env!("CARGO_BIN_EXE_cluster"))),
        tests,
    )
}
