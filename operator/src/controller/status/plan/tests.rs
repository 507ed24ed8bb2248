//! Tables of facts and the statuses they give.

use super::*;
use crate::controller::status::story::story;
use crate::test_support::{at, ended_pod, pod, ready_pod};
use lockstep_crds::executor::{BestReport, CheckpointReport, JobResult, StorageTrouble, ViewReport};
use serde_json::{Value, json};

fn job(conditions: Value) -> Job {
    serde_json::from_value(json!({"status": {"conditions": conditions}})).unwrap()
}

fn member(index: u32, step: u64) -> ExecutorReport {
    ExecutorReport {
        index,
        phase: ExecutorPhase::Training,
        joined: true,
        view: Some(ViewReport { number: 1, members: vec![0, 1] }),
        step,
        total_steps: 400,
        epoch: step / 100,
        epochs: 4,
        images_per_second: 500.0,
        ..ExecutorReport::default()
    }
}

struct Case {
    previous: CnnTrainingJobStatus,
    suspend: bool,
    executors: u32,
    job: Job,
    pods: Vec<Pod>,
    missing: Vec<String>,
    answers: Option<Vec<ExecutorReport>>,
}

impl Default for Case {
    fn default() -> Self {
        Self {
            previous: CnnTrainingJobStatus::default(),
            suspend: false,
            executors: 2,
            job: job(json!([])),
            pods: vec![ready_pod(0), ready_pod(1)],
            missing: Vec::new(),
            answers: Some(vec![member(0, 40), member(1, 40)]),
        }
    }
}

impl Case {
    fn plan(&self) -> CnnTrainingJobStatus {
        self.plan_at(60)
    }

    fn plan_at(&self, seconds: i64) -> CnnTrainingJobStatus {
        plan(
            at(seconds),
            &self.previous,
            Facts {
                name: "cifar10",
                generation: Some(1),
                executors: self.executors,
                epochs: 4,
                suspend: self.suspend,
                job: &self.job,
                pods: &self.pods,
                missing: &self.missing,
                answers: self.answers.as_deref(),
            },
        )
    }
}

fn condition<'a>(status: &'a CnnTrainingJobStatus, kind: &str) -> &'a Condition {
    status.conditions.iter().find(|condition| condition.type_ == kind).unwrap()
}

fn running() -> CnnTrainingJobStatus {
    Case::default().plan_at(0)
}

#[test]
fn a_new_job_is_starting() {
    let status = Case { pods: vec![], answers: None, ..Case::default() }.plan();
    assert_eq!(status.phase, Some(Phase::Starting));
    assert_eq!(condition(&status, "Started").status, "False");
    assert_eq!(condition(&status, "Progressing").status, "True");
    assert_eq!(status.executors, Some(ExecutorCounts { desired: 2, ready: 0, joined: 0 }));
    assert_eq!(status.start_time, Some(Time(at(60))));
}

#[test]
fn a_reference_that_leads_nowhere_stalls_a_job_that_cannot_start_and_none_that_trains() {
    let words = "storage.hadoopConfigMapRef names the ConfigMap hadoop-conf, which does not exist";
    let missing = vec![words.to_owned()];
    let waiting = Case {
        pods: [0, 1].map(|index| pod(index, json!({"phase": "Pending"}))).into(),
        missing: missing.clone(),
        answers: None,
        ..Case::default()
    };
    let status = waiting.plan();
    assert_eq!(status.phase, Some(Phase::Stalled));
    let progressing = condition(&status, "Progressing");
    assert_eq!((progressing.reason.as_str(), progressing.message.as_str()), ("ReferenceNotFound", words));
    assert_eq!(Case { missing, ..Case::default() }.plan().phase, Some(Phase::Running));
}

#[test]
fn executors_that_train_make_a_running_job() {
    let status = running();
    assert_eq!(status.phase, Some(Phase::Running));
    assert_eq!(condition(&status, "Started").status, "True");
    assert_eq!(status.replicas, Some(2));
    assert_eq!(
        status.selector.as_deref(),
        Some("app.kubernetes.io/component=executor,lockstep.dev/job-name=cifar10")
    );
    assert_eq!(status.progress.as_ref().unwrap().percent, 10);
    assert_eq!(status.view, Some(1));
    assert_eq!(status.display.as_ref().unwrap().progress.as_deref(), Some("10%"));
    assert_eq!(status.display.unwrap().executors.as_deref(), Some("2/2"));
}

/// Otherwise every reconcile would write, and every write would trigger a reconcile.
#[test]
fn the_same_facts_give_the_same_status() {
    let first = running();
    assert_eq!(Case { previous: first.clone(), ..Case::default() }.plan_at(600), first);
}

#[test]
fn executors_that_were_not_asked_keep_what_they_said() {
    let status = Case { previous: running(), answers: None, ..Case::default() }.plan();
    assert_eq!(status, running());
}

#[test]
fn a_lost_executor_makes_a_recovering_job_until_all_train() {
    let less = Case {
        previous: running(),
        answers: Some(vec![member(1, 50)]),
        pods: vec![ready_pod(1)],
        ..Case::default()
    };
    let recovering = less.plan();
    assert_eq!(recovering.phase, Some(Phase::Recovering));
    assert!(condition(&recovering, "Progressing").message.contains("1 of 2 executors train"));
    let still = Case { previous: recovering.clone(), ..less }.plan();
    assert_eq!(still.phase, Some(Phase::Recovering));
    let again =
        Case { previous: still, answers: Some(vec![member(0, 60), member(1, 60)]), ..Case::default() }.plan();
    assert_eq!(again.phase, Some(Phase::Running));
}

#[test]
fn an_executor_that_is_not_replaced_is_named_and_the_others_train_on() {
    let given_up = |failed: &str| -> Job {
        serde_json::from_value(json!({"status": {"failedIndexes": failed, "failed": 1}})).unwrap()
    };
    let case = |executors, failed| Case {
        previous: running(),
        executors,
        job: given_up(failed),
        answers: Some(vec![member(0, 50)]),
        pods: vec![ready_pod(0), ended_pod(1, 137, "Error", "killed")],
        ..Case::default()
    };
    let status = case(2, "1").plan();
    assert_eq!(status.phase, Some(Phase::Running));
    let progressing = condition(&status, "Progressing");
    assert_eq!((progressing.status.as_str(), progressing.reason.as_str()), ("True", "ExecutorsGivenUp"));
    for part in
        ["1 of 2 executors train", "executor 1 (pod cifar10-1-abcde) exited with 137: killed", "backoffLimit"]
    {
        assert!(progressing.message.contains(part), "{}", progressing.message);
    }
    let told: Vec<_> = story(&running(), &status).into_iter().map(|note| note.reason).collect();
    assert_eq!(told, ["ExecutorGivenUp"]);
    assert!(story(&status, &status).is_empty());
    assert_eq!(case(4, "1-3").plan().phase, Some(Phase::Running));
    assert_eq!(case(3, "1").plan().phase, Some(Phase::Recovering), "executor 2 may still come back");
}

#[test]
fn lists_of_indexes_are_read_and_nonsense_in_them_is_not() {
    assert_eq!(indexes("1,3-5,7"), [1, 3, 4, 5, 7]);
    assert!(indexes("").is_empty());
    assert_eq!(indexes("x,2,5-3,-"), [2]);
    assert_eq!(indexes("0-4294967295").len(), 1024);
}

#[test]
fn all_executors_lost_is_recovering_and_keeps_the_progress() {
    let status = Case { previous: running(), answers: Some(vec![]), pods: vec![], ..Case::default() }.plan();
    assert_eq!(status.phase, Some(Phase::Recovering));
    assert_eq!(status.progress.unwrap().step, 40);
}

/// After the loss of all, training resumes from a checkpoint: its step is the truth although it is lower.
#[test]
fn progress_goes_back_with_the_executors_but_not_with_a_newcomer() {
    let back =
        Case { previous: running(), answers: Some(vec![member(0, 20), member(1, 20)]), ..Case::default() }
            .plan();
    assert_eq!(back.progress.unwrap().step, 20);
    let newcomer = ExecutorReport { joined: false, ..member(0, 20) };
    let status = Case { previous: running(), answers: Some(vec![newcomer]), ..Case::default() }.plan();
    assert_eq!(status.progress.unwrap().step, 40);
}

/// An executor that was back before the operator looked has left only this trace.
#[test]
fn a_loss_between_two_looks_is_seen() {
    let recovered = || ExecutorReport { recoveries: 1, ..member(0, 50) };
    let status =
        Case { previous: running(), answers: Some(vec![recovered(), member(1, 50)]), ..Case::default() }
            .plan();
    assert_eq!((status.phase, status.recoveries), (Some(Phase::Recovering), Some(1)));
    let next =
        Case { previous: status, answers: Some(vec![recovered(), member(1, 60)]), ..Case::default() }.plan();
    assert_eq!(next.phase, Some(Phase::Running));
}

#[test]
fn executors_that_leave_when_a_job_is_scaled_down_are_not_lost() {
    let recovered = ExecutorReport { recoveries: 1, ..member(0, 50) };
    let status =
        Case { previous: running(), executors: 1, answers: Some(vec![recovered]), ..Case::default() }.plan();
    assert_eq!(status.phase, Some(Phase::Running));
}

#[test]
fn scaling_up_is_not_a_loss() {
    let status = Case { previous: running(), executors: 4, ..Case::default() }.plan();
    assert_eq!(status.phase, Some(Phase::Running));
    assert!(condition(&status, "Progressing").message.contains("2 of 4"));
}

#[test]
fn too_few_executors_stall_the_job_with_their_own_words() {
    let paused = ExecutorReport {
        phase: ExecutorPhase::Paused,
        joined: false,
        message: Some("1 of at least 2 executors in reach".into()),
        ..member(0, 40)
    };
    let status = Case { previous: running(), answers: Some(vec![paused]), ..Case::default() }.plan();
    assert_eq!(status.phase, Some(Phase::Stalled));
    assert_eq!(condition(&status, "Progressing").status, "False");
    assert_eq!(condition(&status, "Progressing").message, "1 of at least 2 executors in reach");
}

#[test]
fn an_image_that_cannot_be_pulled_stalls_the_job() {
    let waiting = pod(
        0,
        json!({"phase": "Pending", "containerStatuses": [{
            "name": "executor", "ready": false, "restartCount": 0, "image": "i", "imageID": "",
            "state": {"waiting": {"reason": "ErrImagePull", "message": "not found"}},
        }]}),
    );
    let status = Case { pods: vec![waiting], answers: Some(vec![]), ..Case::default() }.plan();
    assert_eq!(status.phase, Some(Phase::Stalled));
    assert_eq!(condition(&status, "Progressing").reason, "ImagePullFailed");
}

#[test]
fn full_storage_shows_while_training_goes_on_and_is_gone_when_there_is_room() {
    let trouble = StorageTrouble {
        kind: StorageTroubleKind::Full,
        message: "failed to write hdfs://namenode/x: storage is full".to_owned(),
    };
    let mut full = member(0, 40);
    full.storage_trouble = Some(trouble.clone());
    let asked = |reports: Option<Vec<ExecutorReport>>, previous: CnnTrainingJobStatus| {
        Case { previous, answers: reports, ..Case::default() }.plan()
    };
    let status = asked(Some(vec![full, member(1, 40)]), running());
    assert_eq!(status.phase, Some(Phase::Running));
    let progressing = condition(&status, "Progressing");
    assert_eq!((progressing.reason.as_str(), &progressing.message), ("StorageFull", &trouble.message));

    let unasked = asked(None, status);
    assert_eq!(condition(&unasked, "Progressing").reason, "StorageFull");
    assert_eq!(
        story(&running(), &unasked).iter().map(|note| note.reason).collect::<Vec<_>>(),
        ["StorageFull"]
    );
    let freed = asked(Some(vec![member(0, 41), member(1, 41)]), unasked.clone());
    assert_eq!(condition(&freed, "Progressing").reason, "Training");
    let told = story(&unasked, &freed);
    assert_eq!(told.iter().map(|note| note.reason).collect::<Vec<_>>(), ["StorageRecovered"]);
}

#[test]
fn suspension_shows_and_ends() {
    let suspended =
        Case { previous: running(), suspend: true, pods: vec![], answers: Some(vec![]), ..Case::default() }
            .plan();
    assert_eq!(suspended.phase, Some(Phase::Suspended));
    assert_eq!(condition(&suspended, "Suspended").status, "True");
    assert_eq!(condition(&suspended, "Progressing").status, "False");
    assert_eq!(suspended.progress.as_ref().unwrap().step, 40, "the step is kept");
    let resumed = Case { previous: suspended, pods: vec![], answers: Some(vec![]), ..Case::default() }.plan();
    assert_eq!(resumed.phase, Some(Phase::Starting));
    assert_eq!(condition(&resumed, "Suspended").status, "False");
    let starting = Case { previous: resumed, pods: vec![], answers: Some(vec![]), ..Case::default() }.plan();
    assert_eq!(starting.phase, Some(Phase::Starting), "a resumed job has lost nobody");
}

fn finished_report() -> ExecutorReport {
    ExecutorReport {
        phase: ExecutorPhase::Finished,
        early_stopped: true,
        best: Some(BestReport { epoch: 3, validation_accuracy: 0.7, checkpoint: Some("file:///c/3".into()) }),
        checkpoint: Some(CheckpointReport {
            uri: "file:///c/4".into(),
            step: 400,
            time: "2026-01-01T00:09:00Z".into(),
        }),
        result: Some(JobResult {
            test_accuracy: Some(0.71),
            test_loss: Some(0.9),
            weights_sha256: "ab".repeat(32),
            model_uri: "file:///c/4/model.safetensors".into(),
            steps: 400,
        }),
        ..member(1, 400)
    }
}

#[test]
fn a_result_is_read_from_the_termination_message_when_nobody_answers_any_more() {
    let words = serde_json::to_string(&finished_report()).unwrap();
    let done = Case {
        previous: running(),
        job: job(json!([{"type": "Complete", "status": "True"}])),
        pods: vec![ended_pod(1, 0, "Completed", &words), ended_pod(0, 143, "Error", "")],
        answers: None,
        ..Case::default()
    }
    .plan();
    assert_eq!(done.phase, Some(Phase::Succeeded));
    assert_eq!(condition(&done, "Complete").status, "True");
    assert_eq!(condition(&done, "Failed").status, "False");
    let result = done.result.unwrap();
    assert_eq!((result.test_accuracy, result.steps, result.early_stopped), (Some(0.71), 400, true));
    assert_eq!(done.best.unwrap().epoch, 3);
    assert_eq!(done.checkpoint.unwrap().step, 400);
    let progress = done.progress.unwrap();
    assert_eq!((progress.percent, progress.eta_seconds), (100, None));
    assert_eq!(done.display.unwrap().accuracy.as_deref(), Some("71.0%"));
    assert_eq!(done.completion_time, Some(Time(at(60))));
    assert_eq!(done.replicas, Some(0));
}

/// Executors end one after the other when the result is written; that is no loss.
#[test]
fn executors_that_finish_are_not_lost() {
    for (pods, answers) in [
        (vec![ended_pod(0, 0, "Completed", ""), ready_pod(1)], vec![member(1, 399)]),
        (vec![ready_pod(0), ready_pod(1)], vec![finished_report()]),
        (vec![ready_pod(0), ready_pod(1)], vec![member(1, 400)]),
    ] {
        let status = Case { previous: running(), pods, answers: Some(answers), ..Case::default() }.plan();
        assert_eq!(status.phase, Some(Phase::Running));
        assert_eq!(condition(&status, "Progressing").reason, "Finishing");
        let told = crate::controller::status::story(&running(), &status);
        assert!(told.iter().all(|note| note.reason != "ExecutorLost"), "{told:?}");
    }
}

#[test]
fn a_success_whose_report_is_lost_says_where_the_result_is() {
    let done = Case {
        job: job(json!([{"type": "Complete", "status": "True"}])),
        pods: vec![],
        answers: None,
        ..Case::default()
    };
    assert!(condition(&done.plan(), "Complete").message.contains("RESULT.json"));
}

#[test]
fn a_failed_job_speaks_with_the_last_words_of_the_executor_that_matters() {
    let failed = job(
        json!([{"type": "Failed", "status": "True", "reason": "PodFailurePolicy", "message": "Container executor"}]),
    );
    for (pods, reason, words) in [
        (
            vec![
                ended_pod(0, 1, "Error", "peer lost"),
                ended_pod(1, 65, "Error", r#"{"message":"shard 3 is cut off"}"#),
            ],
            "BadData",
            "executor 1 (pod cifar10-1-abcde) exited with 65: shard 3 is cut off; repair",
        ),
        (
            vec![ended_pod(0, 70, "Error", r#"{"message":"diverged at step 7"}"#)],
            "Diverged",
            "lower learning rate",
        ),
        (vec![ended_pod(0, 78, "Error", "")], "BadSpec", "corrected"),
        (vec![ended_pod(0, 137, "OOMKilled", "")], "OutOfMemory", "limits.memory"),
        (vec![ended_pod(0, 101, "Error", "panicked")], "ExecutorFailed", "panicked"),
        (vec![], "ExecutorFailed", "Container executor"),
    ] {
        let status =
            Case { previous: running(), job: failed.clone(), pods, answers: None, ..Case::default() }.plan();
        assert_eq!(status.phase, Some(Phase::Failed));
        let condition = condition(&status, "Failed");
        assert_eq!((condition.status.as_str(), condition.reason.as_str()), ("True", reason));
        assert!(condition.message.contains(words), "{}", condition.message);
    }
}

#[test]
fn a_deadline_is_named() {
    let late =
        job(json!([{"type": "Failed", "status": "True", "reason": "DeadlineExceeded", "message": "x"}]));
    let status = Case { job: late, pods: vec![ended_pod(0, 143, "Error", "")], ..Case::default() }.plan();
    assert_eq!(condition(&status, "Failed").reason, "DeadlineExceeded");
}

#[test]
fn transition_times_stay_while_a_condition_holds() {
    let status =
        Case { previous: running(), answers: Some(vec![member(0, 80), member(1, 80)]), ..Case::default() }
            .plan_at(500);
    assert_eq!(condition(&status, "Started").last_transition_time, Time(at(0)));
    let done = Case {
        previous: status,
        job: job(json!([{"type": "Complete", "status": "True"}])),
        ..Case::default()
    }
    .plan_at(700);
    assert_eq!(condition(&done, "Complete").last_transition_time, Time(at(700)));
    assert_eq!(done.start_time, Some(Time(at(0))));
}

#[test]
fn an_invalid_spec_fails_the_job_with_every_violation() {
    let violations =
        vec![Violation::new("executors", "too many"), Violation::new("data.training.uri", "unknown")];
    let status = refused(at(0), &CnnTrainingJobStatus::default(), Some(2), &Refusal::Spec(violations));
    assert_eq!(status.phase, Some(Phase::Failed));
    assert_eq!(status.observed_generation, Some(2));
    let condition = condition(&status, "Failed");
    assert_eq!(condition.reason, "InvalidSpec");
    assert_eq!(condition.message, "executors: too many; data.training.uri: unknown");
    assert!(status.completion_time.is_some());
}

#[test]
fn a_failure_that_is_retried_keeps_the_phase() {
    let status = refused(at(9), &running(), Some(1), &Refusal::Retried("the API server is busy".into()));
    assert_eq!(status.phase, Some(Phase::Running));
    assert_eq!(condition(&status, "Progressing").reason, "ReconcileFailed");
    assert_eq!(status.completion_time, None);
    let well = Case { previous: status, ..Case::default() }.plan();
    assert_eq!(condition(&well, "Progressing").reason, "Training");
}
