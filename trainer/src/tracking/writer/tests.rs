use lockstep_storage::Store;

use super::*;
use crate::tracking::{Event, Observed, Record, RunLogSink, run_log};

/// An executor's memory and the writer of the run log that serves it.
struct Executor {
    memory: Arc<Mutex<Memory>>,
    duty: watch::Sender<Duty>,
    task: tokio::task::JoinHandle<()>,
}

impl Executor {
    fn start(run_log: &Store, incarnation: u64) -> Self {
        let (memory, duty) = (Arc::<Mutex<Memory>>::default(), watch::Sender::new(Duty::default()));
        let sink = RunLogSink::new(run_log.clone(), incarnation);
        let task = tokio::spawn(Writer::new(sink, Arc::clone(&memory), duty.subscribe()).run());
        Self { memory, duty, task }
    }

    fn add(&self, step: u64, event: Event) {
        self.memory.lock().unwrap().add(Record { step, event, observed: Observed::now(0) });
    }

    fn step(&self, step: u64) {
        self.add(step, Event::Step { loss: step as f64, learning_rate: 0.1 });
    }

    fn turn(&self, turn: Option<u64>) {
        self.duty.send_modify(|duty| duty.turn = turn);
    }

    async fn close(self) {
        self.duty.send_modify(|duty| duty.closing = true);
        tokio::time::timeout(Duration::from_secs(60), self.task).await.unwrap().unwrap();
    }
}

fn bed() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().to_str().unwrap()).unwrap().folder("events").unwrap();
    (folder, store)
}

async fn read(run_log: &Store) -> Vec<Record> {
    let log = run_log::read(run_log).await.unwrap();
    assert!(log.damage.is_empty());
    log.records
}

async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let wait = async {
        while !condition().await {
            sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.unwrap_or_else(|_| panic!("{what}"));
}

#[tokio::test]
async fn only_who_has_the_turn_writes_and_at_once_when_asked() {
    let (_folder, run_log) = bed();
    let [one, other] = [1, 2].map(|incarnation| Executor::start(&run_log, incarnation));
    one.turn(Some(1));
    for executor in [&one, &other] {
        executor.step(1);
        executor.duty.send_modify(|duty| duty.asked += 1);
    }
    until("a written record", async || read(&run_log).await.len() == 1).await;
    other.close().await;
    one.close().await;
    assert_eq!(run_log.list("").await.unwrap().len(), 1);
}

/// The first writer dies with records that it has not written; the second one remembers them.
#[tokio::test]
async fn the_next_writer_has_what_a_dead_one_did_not_write() {
    let (_folder, run_log) = bed();
    let [one, other] = [1, 2].map(|incarnation| Executor::start(&run_log, incarnation));
    one.turn(Some(1));
    for step in 1..100 {
        one.step(step);
        other.step(step);
        if step == 50 {
            one.duty.send_modify(|duty| duty.asked += 1);
            until("50 records", async || read(&run_log).await.len() == 50).await;
        }
    }
    one.task.abort();
    other.turn(Some(2));
    other.step(100);
    other.close().await;
    assert!(read(&run_log).await.iter().map(|record| record.step).eq(1..=100));
}

#[tokio::test]
async fn a_turn_that_ends_is_written_to_its_end() {
    let (_folder, run_log) = bed();
    let executor = Executor::start(&run_log, 1);
    executor.turn(Some(1));
    executor.step(1);
    executor.duty.send_modify(|duty| duty.asked += 1);
    until("the first record", async || read(&run_log).await.len() == 1).await;
    executor.step(2);
    executor.turn(None);
    until("the last record", async || read(&run_log).await.len() == 2).await;
    executor.step(3);
    executor.close().await;
    assert_eq!(read(&run_log).await.len(), 2);
}

/// Storage that is away costs the oldest steps, and nothing but steps.
#[tokio::test]
async fn storage_that_is_away_delays_records_and_costs_only_old_steps() {
    let (folder, run_log) = bed();
    // Nothing can be written below a file.
    let obstacle = folder.path().join("events");
    std::fs::write(&obstacle, b"").unwrap();
    let executor = Executor::start(&run_log, 1);
    executor.turn(Some(1));
    executor.add(1, Event::Test { loss: 1.0, accuracy: 0.5 });
    executor.duty.send_modify(|duty| duty.asked += 1);
    // It is at its first record by now, or takes all.
    sleep(Duration::from_millis(100)).await;
    (1..=10_000).for_each(|step| executor.step(step));
    executor.add(10_000, Event::Test { loss: 1.0, accuracy: 0.5 });
    std::fs::remove_file(obstacle).unwrap();
    executor.close().await;
    let records = read(&run_log).await;
    let tests = records.iter().filter(|record| !record.is_step()).map(|record| record.step);
    assert!(tests.eq([1, 10_000]));
    let steps: Vec<_> = records.iter().filter(|record| record.is_step()).map(|record| record.step).collect();
    assert!(steps.len() < 10_000 && steps.iter().copied().eq(10_001 - steps.len() as u64..=10_000));
}
