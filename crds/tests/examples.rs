//! The manifests that users copy.
#![allow(clippy::unwrap_used)]

use lockstep_crds::{manifest, resolve};

/// A mistake here is the first thing a new user would meet.
#[test]
fn every_example_is_accepted() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let job = manifest::parse(&std::fs::read_to_string(&path).unwrap());
            let job = job.unwrap_or_else(|error| {
                panic!("{}: {error}: {:?}", path.display(), std::error::Error::source(&error))
            });
            resolve(&job.spec).unwrap_or_else(|violations| panic!("{}: {violations:?}", path.display()));
            seen += 1;
        }
    }
    assert!(seen >= 2, "{seen} examples in {folder}");
}
