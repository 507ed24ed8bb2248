use lockstep_records::framing::Frames;

use super::*;
use crate::tracking::{Event, Observed};

fn step(step: u64) -> Record {
    Record { step, event: Event::Step { loss: 1.0, learning_rate: 0.1 }, observed: Observed::now(0) }
}

fn steps(range: std::ops::Range<u64>) -> Vec<Record> {
    range.map(step).collect()
}

struct Bed {
    folder: tempfile::TempDir,
    run_log: Store,
    tensor_board: Store,
}

impl Bed {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().to_str().unwrap()).unwrap();
        let [run_log, tensor_board] = ["events", "runs"].map(|name| store.folder(name).unwrap());
        Self { folder, run_log, tensor_board }
    }

    async fn files(&self) -> Vec<String> {
        self.tensor_board.list("").await.unwrap().into_iter().map(|entry| entry.path).collect()
    }

    /// Records of an event file, its version among them.
    async fn count(&self, name: &str) -> usize {
        let content = self.tensor_board.get(name).await.unwrap();
        let mut frames = Frames::new(content.as_ref());
        let mut count = 0;
        while frames.next_record().unwrap().is_some() {
            count += 1;
        }
        count
    }
}

#[tokio::test]
async fn a_run_log_is_one_part_until_that_is_full_and_no_record_is_lost_between_two() {
    let bed = Bed::new();
    let mut sink = RunLogSink::new(bed.run_log.clone(), 7);
    sink.begin();
    for number in 0..20 {
        sink.write(&steps(number * 500..(number + 1) * 500)).await.unwrap();
    }
    let parts = bed.run_log.list("").await.unwrap();
    assert_eq!(parts.len(), 2, "{parts:?}");
    assert!(parts.iter().any(|part| part.size as usize > PART_BYTES), "{parts:?}");
    let log = run_log::read(&bed.run_log).await.unwrap();
    assert!(log.damage.is_empty());
    assert!(log.records.iter().map(|record| record.step).eq(0..10_000));
}

/// Two writers at once, the same one twice, or one after a crash.
#[tokio::test]
async fn no_writer_of_the_run_log_overwrites_another() {
    let bed = Bed::new();
    let mut sinks = [1, 2].map(|incarnation| RunLogSink::new(bed.run_log.clone(), incarnation));
    for (turn, start) in [0, 20].into_iter().enumerate() {
        for (index, sink) in sinks.iter_mut().enumerate() {
            sink.begin();
            let start = start + 10 * index as u64;
            sink.write(&steps(start..start + 10)).await.unwrap();
            assert_eq!(bed.run_log.list("").await.unwrap().len(), 2 * turn + index + 1);
        }
    }
    let log = run_log::read(&bed.run_log).await.unwrap();
    assert!(log.records.iter().map(|record| record.step).eq(0..40));
}

/// TensorBoard reads by name; a part that sorts before one that it has read is never read.
#[tokio::test]
async fn event_files_sort_by_turn_and_part_even_where_clocks_differ() {
    let bed = Bed::new();
    let ahead = format!("{PREFIX}9000000000.999.executor-0-{:016x}.00003", 5);
    bed.tensor_board.put(&ahead, Vec::new().into()).await.unwrap();
    let mut wanted = vec![ahead];
    for executor in [1, 0] {
        let mut sink =
            TensorBoardSink::new(bed.tensor_board.clone(), bed.run_log.clone(), executor, executor.into());
        for _turn in 0..2 {
            sink.begin();
            for part in 0..12 {
                sink.write(&[step(part)]).await.unwrap();
                let files = bed.files().await;
                wanted.push(files.iter().find(|file| !wanted.contains(*file)).unwrap().clone());
                assert_eq!(files, wanted);
            }
        }
    }
    assert!(wanted[1].starts_with(&format!("{PREFIX}9000000001.000.executor-1-")), "{}", wanted[1]);
}

#[tokio::test]
async fn each_turn_of_tensorboard_begins_with_the_whole_curve_and_goes_on_with_what_is_new() {
    let bed = Bed::new();
    let mut log = RunLogSink::new(bed.run_log.clone(), 1);
    log.begin();
    log.write(&steps(1..6)).await.unwrap();
    let mut sink = TensorBoardSink::new(bed.tensor_board.clone(), bed.run_log.clone(), 0, 1);
    for turn in 1..=2 {
        sink.begin();
        sink.write(&steps(4..9)).await.unwrap();
        sink.write(&steps(9..10)).await.unwrap();
        let files = bed.files().await;
        assert_eq!(files.len(), 2 * turn);
        let [whole, more] = &files[2 * turn - 2..] else { panic!("{files:?}") };
        // The version, the start, and steps 1 to 8; the version and step 9.
        assert_eq!((bed.count(whole).await, bed.count(more).await), (10, 2));
    }
}

#[tokio::test]
async fn what_a_dead_writer_left_half_written_is_no_event_file_any_more() {
    let bed = Bed::new();
    let path = bed.folder.path().join("runs");
    std::fs::create_dir_all(&path).unwrap();
    std::fs::write(path.join(format!("{PREFIX}1.000.executor-0-0.00000#1")), b"half").unwrap();
    let mut sink = TensorBoardSink::new(bed.tensor_board.clone(), bed.run_log.clone(), 0, 1);
    sink.write(&[step(1)]).await.unwrap();
    assert_eq!(std::fs::read_dir(path).unwrap().count(), 1);
}

/// Ten days are some hundred files, and the first minutes are seen at once.
#[test]
fn the_number_of_event_files_grows_slowly_with_the_time() {
    let (mut age, mut files, day) = (Duration::ZERO, 0, Duration::from_secs(86_400));
    while age < 10 * day {
        age += TensorBoardSink::period(age);
        files += 1;
    }
    assert!((100..600).contains(&files), "{files}");
}

#[test]
fn event_files_of_others_are_dated_too() {
    for (name, begin) in [
        ("events.out.tfevents.1764158400.250.executor-3-00ff.00001", Some(1_764_158_400_250)),
        ("events.out.tfevents.1764158400.some-host.12.0.v2", Some(1_764_158_400_999)),
        ("events.out.tfevents.x", None),
        ("checkpoint", None),
    ] {
        assert_eq!(begin_of(name), begin, "{name}");
    }
}
