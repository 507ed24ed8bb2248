//! The chart installs what the types say.
#![allow(clippy::unwrap_used)]

const COMMITTED: &str = include_str!("../../charts/lockstep/files/cnntrainingjobs.yaml");

/// Without this, a field added to the types is pruned by every API server that runs the chart's definition.
#[test]
fn the_charts_definition_is_what_the_types_generate() {
    let generated = lockstep_crds::definition::yaml().unwrap();
    assert!(
        generated == COMMITTED,
        "run `make generate`: charts/lockstep/files/cnntrainingjobs.yaml is out of date"
    );
}
