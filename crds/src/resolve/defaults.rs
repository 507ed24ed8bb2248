//! Every default of the API, once. Field descriptions repeat them for readers; a test compares the two.

use crate::spec::Kernels;

/// `executors`.
pub const EXECUTORS: u32 = 1;
/// `elastic.minExecutors`.
pub const MIN_EXECUTORS: u32 = 1;
/// `elastic.joinGraceSeconds`.
pub const JOIN_GRACE_SECONDS: u32 = 60;
/// `elastic.heartbeatTimeoutSeconds`.
pub const HEARTBEAT_TIMEOUT_SECONDS: u32 = 5;
/// `elastic.startTimeoutSeconds`.
pub const START_TIMEOUT_SECONDS: u32 = 600;
/// `data.validation.fraction` when there is no `data.validation`.
pub const VALIDATION_FRACTION: f64 = 0.1;
/// `data.features.image`.
pub const IMAGE_FEATURE: &str = "image";
/// `data.features.label`.
pub const LABEL_FEATURE: &str = "label";
/// `data.shuffle.blockRecords`.
pub const BLOCK_RECORDS: u32 = 256;
/// `data.shuffle.windowRecords`.
pub const WINDOW_RECORDS: u32 = 65_536;
/// `data.cacheSize`: 512Mi.
pub const CACHE_BYTES: u64 = 512 << 20;
/// Less than this cannot hold a block of ordinary images.
pub const CACHE_BYTES_MIN: u64 = 1 << 20;
/// `training.epochs`.
pub const EPOCHS: u32 = 10;
/// `training.globalBatchSize`.
pub const GLOBAL_BATCH_SIZE: u32 = 128;
/// `training.microBatchSize`.
pub const MICRO_BATCH_SIZE: u32 = 16;
/// `training.seed`.
pub const SEED: u64 = 42;
/// Largest seed: beyond it JSON numbers are not exact everywhere.
pub const SEED_MAX: u64 = (1 << 53) - 1;
/// `training.numerics.kernels`.
pub const KERNELS: Kernels = Kernels::Native;
/// `training.optimizer.adam.learningRate`.
pub const ADAM_LEARNING_RATE: f64 = 0.001;
/// `training.optimizer.adam.beta1`.
pub const ADAM_BETA1: f64 = 0.9;
/// `training.optimizer.adam.beta2`.
pub const ADAM_BETA2: f64 = 0.999;
/// `training.optimizer.adam.epsilon`.
pub const ADAM_EPSILON: f64 = 1e-7;
/// `training.schedule.cosine.finalFactor`.
pub const COSINE_FINAL_FACTOR: f64 = 0.0;
/// `training.schedule.oneCycle.riseFraction`.
pub const ONE_CYCLE_RISE_FRACTION: f64 = 0.3;
/// `training.schedule.oneCycle.initialDivisor`.
pub const ONE_CYCLE_INITIAL_DIVISOR: f64 = 25.0;
/// `training.schedule.oneCycle.finalDivisor`.
pub const ONE_CYCLE_FINAL_DIVISOR: f64 = 10_000.0;
/// `model.layers[].batchNorm.momentum`.
pub const BATCH_NORM_MOMENTUM: f64 = 0.99;
/// `model.layers[].batchNorm.epsilon`.
pub const BATCH_NORM_EPSILON: f64 = 0.001;
/// `model.layers[].maxPool2D.size`.
pub const MAX_POOL_SIZE: u32 = 2;
/// `model.layers[].averagePool2D.size`.
pub const AVERAGE_POOL_SIZE: u32 = 2;
/// `checkpoint.everySteps`.
pub const CHECKPOINT_EVERY_STEPS: u32 = 500;
/// `checkpoint.keep`.
pub const CHECKPOINT_KEEP: u32 = 3;
/// `runPolicy.backoffLimitPerExecutor`.
pub const BACKOFF_LIMIT_PER_EXECUTOR: u32 = 10;
/// `executorTemplate.terminationGracePeriodSeconds`.
pub const TERMINATION_GRACE_PERIOD_SECONDS: u32 = 120;
