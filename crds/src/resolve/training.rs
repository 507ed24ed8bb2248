//! Rules and defaults of training.

use super::{Report, defaults::*};
use crate::{
    resolved::{
        ResolvedAugmentation, ResolvedColorJitter, ResolvedEarlyStopping, ResolvedOptimizer,
        ResolvedSchedule, ResolvedTraining,
    },
    spec::{
        Adam, Augmentation, ColorJitter, Cosine, EarlyStopping, Kernels, Numerics, OneCycle, Optimizer,
        OptimizerType, Piecewise, Precision, Schedule, ScheduleType, Sgd, StoppingMetric, Training,
    },
};

/// Resolves training; `validates` tells whether the job has validation data.
pub(super) fn resolve(training: Option<&Training>, validates: bool, report: &mut Report) -> ResolvedTraining {
    let Training {
        epochs,
        global_batch_size,
        micro_batch_size,
        seed,
        optimizer,
        schedule,
        augmentation,
        label_smoothing,
        numerics,
        early_stopping,
    } = training.cloned().unwrap_or_default();
    let epochs = report.range("training.epochs", epochs.unwrap_or(EPOCHS), 1, 100_000);
    let global_batch_size =
        report.range("training.globalBatchSize", global_batch_size.unwrap_or(GLOBAL_BATCH_SIZE), 1, 1 << 20);
    let micro_batch_size =
        report.range("training.microBatchSize", micro_batch_size.unwrap_or(MICRO_BATCH_SIZE), 1, 4096).max(1);
    if !global_batch_size.is_multiple_of(micro_batch_size) {
        report.add(
            "training.globalBatchSize",
            format!("{global_batch_size} is not a multiple of training.microBatchSize ({micro_batch_size}); change one of them"),
        );
    }
    let label_smoothing = label_smoothing.unwrap_or(0.0);
    if !(0.0..1.0).contains(&label_smoothing) {
        report.add("training.labelSmoothing", format!("{label_smoothing} is not at least 0 and below 1"));
    }
    let (kernels, precision) = resolve_numerics(numerics.as_ref(), report);
    let (schedule, warmup_steps) = resolve_schedule(schedule.as_ref(), epochs, report);
    ResolvedTraining {
        epochs,
        global_batch_size,
        micro_batch_size,
        seed: report.range("training.seed", seed.unwrap_or(SEED), 0, SEED_MAX),
        optimizer: resolve_optimizer(optimizer.as_ref(), report),
        schedule,
        warmup_steps,
        label_smoothing,
        augmentation: resolve_augmentation(augmentation.as_ref(), report),
        kernels,
        precision,
        early_stopping: early_stopping.map(|stopping| resolve_early_stopping(&stopping, validates, report)),
    }
}

fn positive(report: &mut Report, field: &str, value: f64, high: f64) -> f64 {
    if !(value > 0.0 && value <= high) {
        report.add(field, format!("{value} is not above 0 and at most {high}"));
    }
    value
}

fn below_one(report: &mut Report, field: &str, value: f64) -> f64 {
    if !(0.0..1.0).contains(&value) {
        report.add(field, format!("{value} is not at least 0 and below 1"));
    }
    value
}

fn resolve_optimizer(optimizer: Option<&Optimizer>, report: &mut Report) -> ResolvedOptimizer {
    let Optimizer { kind, adam, sgd } =
        optimizer.cloned().unwrap_or(Optimizer { kind: OptimizerType::Adam, adam: None, sgd: None });
    if adam.is_some() && kind != OptimizerType::Adam {
        report.add("training.optimizer.adam", format!("may only be set for type Adam, not {kind:?}"));
    }
    if sgd.is_some() != (kind == OptimizerType::SGD) {
        report.add("training.optimizer.sgd", "must be set for type SGD, and only then");
    }
    match (kind, sgd) {
        (OptimizerType::SGD, Some(Sgd { learning_rate, momentum, nesterov, weight_decay })) => {
            let momentum = below_one(report, "training.optimizer.sgd.momentum", momentum.unwrap_or(0.0));
            let nesterov = nesterov.unwrap_or(false);
            if nesterov && momentum == 0.0 {
                report.add(
                    "training.optimizer.sgd.nesterov",
                    "needs momentum; set training.optimizer.sgd.momentum",
                );
            }
            ResolvedOptimizer::Sgd {
                learning_rate: positive(report, "training.optimizer.sgd.learningRate", learning_rate, 1000.0),
                momentum,
                nesterov,
                weight_decay: report.range(
                    "training.optimizer.sgd.weightDecay",
                    weight_decay.unwrap_or(0.0),
                    0.0,
                    1.0,
                ),
            }
        }
        (OptimizerType::Adam, _) | (OptimizerType::SGD, None) => {
            let Adam { learning_rate, beta1, beta2, epsilon } = adam.unwrap_or_default();
            let field = |name: &str| format!("training.optimizer.adam.{name}");
            let learning_rate = learning_rate.unwrap_or(ADAM_LEARNING_RATE);
            ResolvedOptimizer::Adam {
                learning_rate: positive(report, &field("learningRate"), learning_rate, 1000.0),
                beta1: below_one(report, &field("beta1"), beta1.unwrap_or(ADAM_BETA1)),
                beta2: below_one(report, &field("beta2"), beta2.unwrap_or(ADAM_BETA2)),
                epsilon: positive(report, &field("epsilon"), epsilon.unwrap_or(ADAM_EPSILON), 1.0),
            }
        }
    }
}

fn resolve_schedule(
    schedule: Option<&Schedule>,
    epochs: u32,
    report: &mut Report,
) -> (ResolvedSchedule, u32) {
    let Schedule { kind, warmup_steps, cosine, one_cycle, piecewise } =
        schedule.cloned().unwrap_or(Schedule {
            kind: ScheduleType::Constant,
            warmup_steps: None,
            cosine: None,
            one_cycle: None,
            piecewise: None,
        });
    for (member, given, owner) in [
        ("cosine", cosine.is_some(), ScheduleType::Cosine),
        ("oneCycle", one_cycle.is_some(), ScheduleType::OneCycle),
        ("piecewise", piecewise.is_some(), ScheduleType::Piecewise),
    ] {
        if given && kind != owner {
            report.add(
                format!("training.schedule.{member}"),
                format!("may only be set for type {owner:?}, not {kind:?}"),
            );
        }
    }
    let warmup_steps =
        report.range("training.schedule.warmupSteps", warmup_steps.unwrap_or(0), 0, 100_000_000);
    let schedule = match kind {
        ScheduleType::Constant => ResolvedSchedule::Constant,
        ScheduleType::Cosine => {
            let Cosine { final_factor } = cosine.unwrap_or_default();
            let final_factor = final_factor.unwrap_or(COSINE_FINAL_FACTOR);
            ResolvedSchedule::Cosine {
                final_factor: report.range("training.schedule.cosine.finalFactor", final_factor, 0.0, 1.0),
            }
        }
        ScheduleType::OneCycle => {
            if warmup_steps > 0 {
                report.add(
                    "training.schedule.warmupSteps",
                    "cannot be combined with type OneCycle, which has a warm-up of its own; use oneCycle.riseFraction",
                );
            }
            let OneCycle { rise_fraction, initial_divisor, final_divisor } = one_cycle.unwrap_or_default();
            let field = |name: &str| format!("training.schedule.oneCycle.{name}");
            let initial = initial_divisor.unwrap_or(ONE_CYCLE_INITIAL_DIVISOR);
            ResolvedSchedule::OneCycle {
                rise_fraction: report.range(
                    &field("riseFraction"),
                    rise_fraction.unwrap_or(ONE_CYCLE_RISE_FRACTION),
                    0.0,
                    1.0,
                ),
                initial_divisor: report.range(&field("initialDivisor"), initial, 1.0, 1e9),
                final_divisor: report.range(
                    &field("finalDivisor"),
                    final_divisor.unwrap_or(ONE_CYCLE_FINAL_DIVISOR),
                    1.0,
                    1e9,
                ),
            }
        }
        ScheduleType::Piecewise => resolve_piecewise(piecewise.as_ref(), epochs, report),
    };
    (schedule, warmup_steps)
}

fn resolve_piecewise(piecewise: Option<&Piecewise>, epochs: u32, report: &mut Report) -> ResolvedSchedule {
    let field = "training.schedule.piecewise";
    let changes: Vec<(u32, f64)> = match piecewise {
        Some(Piecewise { changes }) => changes.iter().map(|change| (change.epoch, change.factor)).collect(),
        None => {
            report.add(field, "must be set for type Piecewise");
            return ResolvedSchedule::Constant;
        }
    };
    if changes.is_empty() || changes.len() > 64 {
        report.add(format!("{field}.changes"), format!("{} changes are not between 1 and 64", changes.len()));
    }
    if !changes.is_sorted_by(|(earlier, _), (later, _)| earlier < later) {
        report.add(format!("{field}.changes"), "must have ascending epochs, each once; sort them");
    }
    for (index, (epoch, factor)) in changes.iter().enumerate() {
        report.range(&format!("{field}.changes[{index}].factor"), *factor, 0.0, 1000.0);
        if *epoch == 0 || *epoch >= epochs {
            report.add(
                format!("{field}.changes[{index}].epoch"),
                format!(
                    "{epoch} is not between 1 and {}: it would never take effect",
                    epochs.saturating_sub(1)
                ),
            );
        }
    }
    ResolvedSchedule::Piecewise { changes }
}

/// Nothing where no image would change: such a job is the same as one without the field.
fn resolve_augmentation(
    augmentation: Option<&Augmentation>,
    report: &mut Report,
) -> Option<ResolvedAugmentation> {
    let Augmentation { horizontal_flip, translate_pixels, cutout_pixels, color_jitter } =
        augmentation.cloned().unwrap_or_default();
    let mut pixels = |member, value: Option<u32>| {
        report.range(&format!("training.augmentation.{member}"), value.unwrap_or(0), 0, 256)
    };
    let resolved = ResolvedAugmentation {
        horizontal_flip: horizontal_flip.unwrap_or(false),
        translate_pixels: pixels("translatePixels", translate_pixels),
        cutout_pixels: pixels("cutoutPixels", cutout_pixels),
        color_jitter: resolve_color_jitter(color_jitter.as_ref(), report),
    };
    (resolved != ResolvedAugmentation::default()).then_some(resolved)
}

fn resolve_color_jitter(jitter: Option<&ColorJitter>, report: &mut Report) -> Option<ResolvedColorJitter> {
    let ColorJitter { brightness, contrast, saturation } = jitter.cloned().unwrap_or_default();
    let mut strength = |member, value: Option<f64>| {
        report.range(&format!("training.augmentation.colorJitter.{member}"), value.unwrap_or(0.0), 0.0, 1.0)
    };
    let resolved = ResolvedColorJitter {
        brightness: strength("brightness", brightness),
        contrast: strength("contrast", contrast),
        saturation: strength("saturation", saturation),
    };
    (resolved != ResolvedColorJitter::default()).then_some(resolved)
}

fn resolve_numerics(numerics: Option<&Numerics>, report: &mut Report) -> (Kernels, Precision) {
    let Numerics { kernels, precision } = numerics.cloned().unwrap_or_default();
    let kernels = kernels.unwrap_or(KERNELS);
    let precision = precision.unwrap_or(Precision::Float32);
    if precision != Precision::Float32 {
        report.not_built(
            "training.numerics.precision",
            &format!("computing in {precision:?}"),
            "use Float32",
        );
    }
    (kernels, precision)
}

fn resolve_early_stopping(
    stopping: &EarlyStopping,
    validates: bool,
    report: &mut Report,
) -> ResolvedEarlyStopping {
    let EarlyStopping { metric, patience, min_delta } = stopping;
    if !validates {
        report.add("training.earlyStopping", "needs validation data; set data.validation.fraction");
    }
    ResolvedEarlyStopping {
        metric: metric.unwrap_or(StoppingMetric::ValidationAccuracy),
        patience: report.range("training.earlyStopping.patience", *patience, 1, 100_000),
        min_delta: report.range("training.earlyStopping.minDelta", min_delta.unwrap_or(0.0), 0.0, 1000.0),
    }
}
