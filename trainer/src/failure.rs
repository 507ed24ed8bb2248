//! Why the program ends without having done its work, and the exit code that says so.
//!
//! The operator's `podFailurePolicy` and the supervising parent read the code: permanent failures end the job,
//! all others are tried again.

use lockstep_crds::executor::exit_code;
use lockstep_records::LayoutFinding;
pub(crate) use lockstep_records::chain;
use snafu::Snafu;

use crate::{checkpoint, course::TooFewRecords, feed};

/// A failed run of an executor.
#[derive(Debug, Snafu)]
#[snafu(visibility(pub(crate)))]
pub(crate) enum Failure {
    /// The spec cannot run.
    #[snafu(display("failed to use the job's spec: {reason}"))]
    Spec { reason: String },
    /// A file that the executor needs to start.
    #[snafu(display("failed to read {path}"))]
    ReadFile { path: String, source: std::io::Error },
    /// The job's file does not hold a job.
    #[snafu(display("failed to understand {path}"))]
    DecodeJob { path: String, source: serde_json::Error },
    /// A location that the spec names.
    #[snafu(display("failed to open the {role}"))]
    OpenStore { role: &'static str, source: lockstep_storage::Error },
    /// A data set that the spec names.
    #[snafu(display("failed to open the {role} data"))]
    OpenData { role: &'static str, source: lockstep_records::Error },
    /// The data sets of one job contradict each other.
    #[snafu(display("failed to use the test data: it has {found}, the training data {wanted}"))]
    TestData { found: String, wanted: String },
    /// Compressed shards that the reader must keep in memory.
    #[snafu(display(
        "failed to read the compressed data: its shards hold {} MiB and are kept in memory, data.cacheSize is {} MiB; raise it, \
         or write them anew without compression (`lockstep prepare tfrecords`)",
        needed.div_ceil(1 << 20), cache_bytes >> 20
    ))]
    CacheSize { needed: u64, cache_bytes: u64 },
    /// Images that are scrambled when they are read as they are said to stand.
    #[snafu(display(
        "failed to use the {role} data: its images are said to be {} and look like {}: {finding}; {remedy}, or set \
         data.layoutCheck: Warn if they are right as they are",
        finding.declared, lockstep_records::layout_check::other(finding.declared)
    ))]
    Layout { role: &'static str, finding: LayoutFinding, remedy: String },
    /// Less data than one step needs.
    #[snafu(display(
        "failed to form a batch: {} records to train on are less than training.globalBatchSize {}",
        records.training_records, records.global_batch
    ))]
    TooFewRecords { records: TooFewRecords },
    /// The layers do not fit together or the images.
    #[snafu(display("failed to build the model"))]
    BuildModel { source: lockstep_nn::model::Error },
    /// The kernels that the spec asks for are not in this program or image.
    #[snafu(display("failed to use the {kernels} kernels: {reason}"))]
    Kernels { kernels: &'static str, reason: String },
    /// The threads that compute.
    #[snafu(display("failed to start the engine"))]
    StartEngine { source: lockstep_nn::engine::Error },
    /// Computing the numeric fingerprint.
    #[snafu(display("failed to compute the numeric fingerprint"))]
    Fingerprint { source: lockstep_nn::fingerprint::Error },
    /// Listening, certificates, or a contradiction in the configuration.
    #[snafu(display("failed to join the other executors"))]
    StartGroup { source: lockstep_collective::GroupError },
    /// A socket or a signal handler.
    #[snafu(display("failed to {action}"))]
    System { action: &'static str, source: std::io::Error },
    /// The job's certificates.
    #[snafu(display("failed to use the job's certificates"))]
    Certificates { source: lockstep_collective::TlsError },
    /// No first view in time.
    #[snafu(display("failed to find elastic.minExecutors executors within elastic.startTimeoutSeconds"))]
    StartTimeout,
    /// The collective gave up.
    #[snafu(display("failed to go on with the other executors: {reason}"))]
    Collective { reason: String },
    /// The collective's task ended unasked.
    #[snafu(display("failed to talk to the collective: its task has ended"))]
    CollectiveEnded,
    /// A peer's state does not fit the model.
    #[snafu(display("failed to take over a peer's state"))]
    Snapshot { reason: String },
    /// Reading a micro-batch.
    #[snafu(display("failed to read the data"))]
    Data { source: feed::Error },
    /// Computing a micro-batch.
    #[snafu(display("failed to compute micro-batch {leaf} of step {step}"))]
    Compute { step: u64, leaf: u32, source: lockstep_nn::engine::Error },
    /// The numbers are not finite any more.
    #[snafu(display(
        "failed to go on training: lower the learning rate; the last good checkpoint is {checkpoint}"
    ))]
    Update { checkpoint: String, source: lockstep_nn::optimizer::Error },
    /// Checkpoints and results.
    #[snafu(display("failed to keep the run"))]
    Checkpoint { source: checkpoint::Error },
}

impl Failure {
    /// See [`exit_code`].
    pub(crate) fn exit_code(&self) -> u8 {
        let retryable =
            |is_retryable: bool, permanent: u8| if is_retryable { exit_code::TEMPFAIL } else { permanent };
        // Nothing is wrong with the data that nobody may see.
        let data = |is_retryable, source: &(dyn std::error::Error + 'static)| {
            retryable(is_retryable, if is_denied(source) { exit_code::CONFIG } else { exit_code::DATA })
        };
        match self {
            Self::Spec { .. }
            | Self::DecodeJob { .. }
            | Self::BuildModel { .. }
            | Self::Kernels { .. }
            | Self::CacheSize { .. }
            | Self::Certificates { .. } => exit_code::CONFIG,
            Self::TestData { .. } | Self::Layout { .. } | Self::TooFewRecords { .. } => exit_code::DATA,
            Self::OpenStore { source, .. } => retryable(source.is_retryable(), exit_code::CONFIG),
            // The data is right, and the memory that the spec allows too little.
            Self::OpenData { source: lockstep_records::Error::CompressedSize { .. }, .. } => {
                exit_code::CONFIG
            }
            Self::OpenData { source, .. } => data(source.is_retryable(), source),
            Self::Data { source } => data(source.is_retryable(), source),
            Self::StartGroup { source } => retryable(source.is_retryable(), exit_code::CONFIG),
            Self::Compute { source, .. } => retryable(source.is_retryable(), exit_code::DATA),
            Self::StartEngine { source } => retryable(source.is_retryable(), exit_code::CONFIG),
            Self::Fingerprint { source } => retryable(source.is_retryable(), exit_code::CONFIG),
            Self::Checkpoint { source } => data(source.is_retryable(), source),
            Self::Update { .. } | Self::Collective { .. } => exit_code::DIVERGED,
            Self::ReadFile { .. }
            | Self::System { .. }
            | Self::StartTimeout
            | Self::CollectiveEnded
            | Self::Snapshot { .. } => exit_code::RETRYABLE,
        }
    }
}

/// Whether storage refused whoever asked.
fn is_denied(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut errors = std::iter::successors(Some(error), |error| error.source());
    errors.any(|error| {
        let boxed = error.downcast_ref::<Box<lockstep_storage::Error>>().map(Box::as_ref);
        boxed.or_else(|| error.downcast_ref()).is_some_and(lockstep_storage::Error::is_denied)
    })
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::*;

    /// A pod without a ticket says "wrong spec", not "wrong data", and is not tried again.
    #[test]
    fn storage_that_lets_nobody_in_is_a_matter_of_the_spec() {
        let path = "/etc/lockstep/kerberos/principal".to_owned();
        let denied =
            lockstep_storage::Error::ReadConfiguration { path, source: ErrorKind::PermissionDenied.into() };
        let other = lockstep_storage::Error::Address { uri: "hdfs://ours/data".into(), path: "../x".into() };
        for (source, code) in [(denied, exit_code::CONFIG), (other, exit_code::DATA)] {
            let source =
                lockstep_records::Error::Open { uri: "hdfs://ours/data".into(), source: Box::new(source) };
            assert_eq!(Failure::OpenData { role: "training", source }.exit_code(), code);
        }
    }
}
