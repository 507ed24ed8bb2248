//! A job whose data, model and run folder have been found and fit together: what can be known before training.

use std::sync::Arc;

use lockstep_crds::{ResolvedJob, resolved::ResolvedSelection, spec::StoppingMetric};
use lockstep_nn::{Backend, Shape};
use lockstep_records::{Dataset, FeatureNames, order::Split};
use lockstep_storage::{Access, Store};
use snafu::ResultExt;

use crate::{
    checkpoint::{Origin, Retention, RunFolder},
    course::{Course, EarlyStopping, Metric},
    failure::{Failure, FingerprintSnafu, OpenStoreSnafu},
    identity::{EVALUATION_MICRO_BATCH, result_hash, run_name},
    job_data,
    kernels::Backends,
    network::{LearningRate, Network},
};

/// See the module.
pub(crate) struct OpenedJob {
    /// The spec.
    pub job: ResolvedJob,
    /// Records to train on and to hold out.
    pub training_set: Dataset,
    /// Records for the final test.
    pub test_set: Option<Dataset>,
    /// Which are held out.
    pub split: Split,
    /// Rounds from the first to the last.
    pub course: Course,
    /// Model and optimizer.
    pub network: Network,
    /// What computes the model.
    pub backend: Arc<dyn Backend>,
    /// Of every step.
    pub learning_rate: LearningRate,
    /// Hash of everything that determines the result.
    pub result_hash: [u8; 32],
    /// Hash of what this machine computes from fixed inputs.
    pub fingerprint: [u8; 32],
    /// Where its checkpoints and result are.
    pub run: RunFolder,
    /// Where its TensorBoard event files go, if it has any.
    pub tensor_board: Option<Store>,
}

impl OpenedJob {
    /// Opens and checks everything that `job` names.
    pub(crate) async fn open(job: ResolvedJob, backends: &Backends) -> Result<Self, Failure> {
        let backend = backends.get(job.result.training.kernels)?;
        let (spec, checkpoint) = (&job.result, &job.checkpoint);
        let access = Access::from_env().with_user(job.storage.user.as_deref());
        let (training_set, test_set) = job_data::open(&access, &job.data, &features(&spec.data)).await?;
        let digests: Vec<&str> = [&training_set].into_iter().chain(&test_set).map(Dataset::digest).collect();
        let inputs =
            serde_json::to_value(spec).map_err(|error| Failure::Spec { reason: error.to_string() })?;
        let result_hash = result_hash(&inputs, &digests, backend.numerics_version());

        let split = Split::new(training_set.len(), spec.data.validation_fraction, spec.training.seed)
            .map_err(|error| Failure::Spec { reason: error.to_string() })?;
        let course = Course {
            training_records: split.training_len() as usize,
            validation_records: split.validation_len() as usize,
            test_records: test_set.as_ref().map_or(0, Dataset::len) as usize,
            global_batch: spec.training.global_batch_size as usize,
            micro_batch: spec.training.micro_batch_size as usize,
            epochs: spec.training.epochs,
            early_stopping: spec.training.early_stopping.as_ref().map(|rule| EarlyStopping {
                metric: metric(rule.metric),
                patience: rule.patience,
                min_delta: rule.min_delta,
            }),
        };
        course.check().map_err(|records| Failure::TooFewRecords { records })?;
        let network =
            Network::new(&spec.model, &spec.training, shape(&training_set), training_set.classes().len())?;
        let learning_rate = LearningRate::new(&spec.training, &course);
        let fingerprint = fingerprint(&backend, &network, &course).await?;

        let run_name = run_name(&result_hash, &fingerprint);
        let open = |role: &'static str, uri: &str| {
            let store = Store::open_with(uri, &access).context(OpenStoreSnafu { role })?;
            store.folder(&run_name).context(OpenStoreSnafu { role: "run folder" })
        };
        let store = open("checkpoint folder", &checkpoint.uri)?;
        let tensor_board = job.tracking.tensor_board_uri.as_deref();
        let tensor_board = tensor_board.map(|uri| open("TensorBoard folder", uri)).transpose()?;
        let retention = Retention { keep: checkpoint.keep as usize, keep_best: checkpoint.keep_best };
        let run = RunFolder::new(
            store,
            Origin::new(&result_hash, &fingerprint, backend.numerics_version()),
            retention,
        );
        Ok(Self {
            job,
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
            tensor_board,
        })
    }
}

/// On a thread of its own, since it computes for a while.
async fn fingerprint(
    backend: &Arc<dyn Backend>,
    network: &Network,
    course: &Course,
) -> Result<[u8; 32], Failure> {
    let (backend, model) = (Arc::clone(backend), Arc::clone(&network.model));
    let micro_batch = course.micro_batch;
    let mut evaluations = vec![EVALUATION_MICRO_BATCH];
    let short =
        [course.validation_records, course.test_records].map(|records| records % EVALUATION_MICRO_BATCH);
    evaluations.extend(short.into_iter().filter(|images| *images > 0));
    let compute = move || backend.fingerprint(&model, micro_batch, &evaluations);
    tokio::task::spawn_blocking(compute)
        .await
        .map_err(|error| Failure::Collective { reason: error.to_string() })?
        .context(FingerprintSnafu)
}

/// Where image and label stand in a record.
pub(crate) fn features(data: &ResolvedSelection) -> FeatureNames {
    FeatureNames { image: data.image_feature.clone(), label: data.label_feature.clone() }
}

fn shape(set: &Dataset) -> Shape {
    let lockstep_records::Shape { height, width, channels } = set.shape();
    Shape { height: height as usize, width: width as usize, channels: channels as usize }
}

fn metric(metric: StoppingMetric) -> Metric {
    match metric {
        StoppingMetric::ValidationAccuracy => Metric::ValidationAccuracy,
        StoppingMetric::ValidationLoss => Metric::ValidationLoss,
    }
}
