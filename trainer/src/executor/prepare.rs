//! From an opened job to everything that an executor's loop uses: engine, feed, run folder, configuration.

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use lockstep_collective::{AddressBook, Certificates, Config, GroupOptions};
use lockstep_crds::{ResolvedJob, spec::Assignment};
use lockstep_nn::{Engine, EngineOptions, Shape};
use lockstep_records::{Dataset, RecordReader, order::Shuffle};
use snafu::ResultExt;
use tokio::net::TcpListener;

use crate::{
    augmentation::Augmentation,
    checkpoint::RunFolder,
    course::{Course, Cursor},
    failure::{CheckpointSnafu, Failure, StartEngineSnafu},
    feed::Feed,
    network::{LearningRate, Network},
    opened_job::{OpenedJob, features},
    read_ahead::LARGEST_PORTION,
    state::TrainingState,
};

/// Where an executor runs: its identity and its way to the others.
pub(crate) struct Place {
    /// Tells jobs of the same name apart.
    pub job_uid: String,
    /// This executor's index in the job.
    pub index: u32,
    /// Random id of this start.
    pub incarnation: u64,
    /// Threads that compute; the spec's number unless given.
    pub threads: Option<NonZeroUsize>,
    /// Others connect here.
    pub listener: TcpListener,
    /// Where the others are.
    pub peers: AddressBook,
    /// The job's certificates; none on one machine.
    pub tls: Option<Certificates>,
}

/// A job that is ready to train.
pub(super) struct Prepared {
    pub(super) index: u32,
    pub(super) seed: u64,
    pub(super) network: Network,
    pub(super) course: Course,
    pub(super) learning_rate: LearningRate,
    pub(super) engine: Arc<Engine>,
    pub(super) feed: Arc<Feed>,
    pub(super) run: RunFolder,
    checkpoint_every: u64,
    keep_best: bool,
}

impl Prepared {
    /// The newest committed state of the run, else the state that the seed gives; and whether it is committed.
    pub(super) async fn restore_or_initialise(&self) -> Result<(TrainingState, bool), Failure> {
        match self.run.restore(&self.network).await.context(CheckpointSnafu)? {
            Some((id, state)) => {
                tracing::info!(checkpoint = %id, "resumed");
                Ok((state, true))
            }
            None => Ok((TrainingState::initial(&self.network, self.seed), false)),
        }
    }

    /// Whether the state at `cursor` is to be committed: every so many steps, at a new best, and at the end of training.
    pub(super) fn is_checkpoint_due(&self, cursor: &Cursor) -> bool {
        let new_best = self.keep_best && cursor.best.is_some_and(|best| best.step == cursor.step);
        let due =
            cursor.step.is_multiple_of(self.checkpoint_every) || new_best || cursor.training_has_ended();
        due && cursor.is_evaluated() && cursor.test.is_none()
    }
}

/// Starts the engine and the reading for `opened`, and says how to join the others.
pub(super) fn prepare(opened: OpenedJob, place: Place) -> Result<(Prepared, Config, GroupOptions), Failure> {
    let OpenedJob {
        job:
            ResolvedJob {
                executors,
                threads_per_executor,
                elastic,
                result,
                data,
                checkpoint,
                tracking: _,
                storage: _,
            },
        training_set,
        test_set,
        split,
        course,
        network,
        backend,
        learning_rate,
        result_hash,
        fingerprint,
        run,
        tensor_board: _,
    } = opened;
    let Place { job_uid, index, incarnation, threads, listener, peers, tls } = place;
    let seed = result.training.seed;

    let features = features(&result.data);
    let test_share = test_share(&training_set, test_set.as_ref(), data.cache_bytes);
    let training = RecordReader::new(training_set, features.clone(), data.cache_bytes - test_share);
    let test = test_set.map(|set| RecordReader::new(set, features, test_share));
    let shuffle = Shuffle {
        block_records: result.data.block_records.into(),
        window_records: result.data.window_records.into(),
    };
    warn_of_windows_read_over_and_over(&training, shuffle, executors);
    let Shape { height, width, channels } = network.model.input();
    let augmentation = result.training.augmentation;
    let augmentation =
        augmentation.map(|rule| Augmentation::new(rule, seed, height, width, channels)).transpose();
    let augmentation = augmentation.map_err(|error| Failure::Spec { reason: error.to_string() })?;
    let feed = Feed::new(course.clone(), seed, shuffle, split, augmentation, training, test);

    let threads =
        threads.or_else(|| NonZeroUsize::new(threads_per_executor as usize)).unwrap_or(NonZeroUsize::MIN);
    let options = EngineOptions { seed, label_smoothing: result.training.label_smoothing };
    let engine =
        Engine::new(backend, Arc::clone(&network.model), threads, options).context(StartEngineSnafu)?;
    tracing::info!(run = run.uri(), steps = course.total_steps(), %threads, "prepared");

    let config = Config {
        index,
        executors,
        min_executors: elastic.min_executors,
        join_grace: Duration::from_secs(elastic.join_grace_seconds.into()),
        heartbeat_timeout: Duration::from_secs(elastic.heartbeat_timeout_seconds.into()),
        start_timeout: Duration::from_secs(elastic.start_timeout_seconds.into()),
        adaptive: elastic.assignment == Assignment::Measured,
        job_uid,
        result_hash,
        fingerprint,
        incarnation,
        seed: incarnation,
    };
    let prepared = Prepared {
        index,
        seed,
        network,
        course,
        learning_rate,
        engine: Arc::new(engine),
        feed: Arc::new(feed),
        run,
        checkpoint_every: checkpoint.every_steps.max(1).into(),
        keep_best: checkpoint.keep_best,
    };
    Ok((prepared, config, GroupOptions { listener, peers, tls }))
}

/// Nothing goes wrong then, but storage is read more than it need be.
fn warn_of_windows_read_over_and_over(training: &RecordReader, shuffle: Shuffle, executors: u32) {
    let dataset = training.dataset();
    let bytes: u64 = dataset.manifest().shards.iter().map(|shard| shard.bytes).sum();
    let record = bytes / dataset.len().max(1);
    let window = record * shuffle.window_records.min(dataset.len()) / u64::from(executors.max(1));
    let times = window as f64 / training.room() as f64;
    // Compressed shards are in memory as a whole.
    if times > 1.0 && dataset.unpacked_bytes() == 0 {
        tracing::info!(
            window_mib = window >> 20,
            "an executor's share of a window does not fit into data.cacheSize: storage is read about {:.0} times over; a larger \
             cacheSize avoids that, and so does a smaller data.shuffle.windowRecords, which changes the result",
            (times / LARGEST_PORTION).ceil()
        );
    }
}

/// The test set's part of the memory. Evaluations take turns with training: what neither needs for compressed shards is shared
/// in proportion to the data sets' sizes.
fn test_share(training: &Dataset, test: Option<&Dataset>, cache_bytes: u64) -> u64 {
    let Some(test) = test else { return 0 };
    let (for_training, for_test) = (training.unpacked_bytes(), test.unpacked_bytes());
    let rest = cache_bytes.saturating_sub(for_training.saturating_add(for_test));
    let all = u128::from(test.len()) + u128::from(training.len());
    let share = u128::from(rest) * u128::from(test.len()) / all.max(1);
    let share = for_test.saturating_add(u64::try_from(share).unwrap_or(rest));
    share.min(cache_bytes)
}
