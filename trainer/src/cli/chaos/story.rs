//! What faults cost, from what the executors logged and when the faults struck.

use jiff::Timestamp;

use super::log::{Log, Step};

/// A fault that has struck.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Struck {
    /// Just before it did.
    pub at: Timestamp,
    /// Executors that are out of the work by it, ascending.
    pub executors: Vec<u32>,
    pub is_kill: bool,
}

/// What they cost.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Costs {
    /// Steps that were done, and done again because whoever had their result was gone; the step that a fault interrupted is
    /// not counted.
    pub steps_lost: u64,
    /// Views that go on without a member of the one before.
    pub recoveries: u64,
    /// Of every kill during training, ascending: seconds until the next step was done, beside a step's own time.
    pub pauses: Vec<f64>,
    /// Of the same kills, ascending: seconds until the next step was done.
    pub until_next_step: Vec<f64>,
    /// Kills during an evaluation, whose pause has no step to be measured by.
    pub kills_in_evaluations: u64,
    /// The median time of a step that no fault struck, in seconds.
    pub step_seconds: Option<f64>,
}

/// Computes them.
pub(super) fn costs(log: &Log, struck: &[Struck]) -> Costs {
    let frontier = frontier(log);
    let mut costs = Costs { recoveries: recoveries(log), ..Costs::default() };
    let times = step_times(log, &frontier, struck);
    costs.step_seconds = median(times.iter().map(|time| time.seconds).collect());
    for fault in struck {
        costs.steps_lost += lost(log, fault);
        if !fault.is_kill {
            continue;
        }
        let Some(next) = frontier.iter().map(|(_, at)| *at).find(|at| *at > fault.at) else { continue };
        if log.evaluations.iter().any(|evaluated| (fault.at..=next).contains(evaluated)) {
            costs.kills_in_evaluations += 1;
            continue;
        }
        let members = members_at(log, next);
        let of_these = times.iter().filter(|time| time.members == members).map(|time| time.seconds).collect();
        let step = median(of_these).or(costs.step_seconds).unwrap_or(0.0);
        costs.until_next_step.push(seconds(fault.at, next));
        costs.pauses.push((seconds(fault.at, next) - step).max(0.0));
    }
    costs.pauses.sort_by(f64::total_cmp);
    costs.until_next_step.sort_by(f64::total_cmp);
    costs
}

/// When each step was first done by anyone.
fn frontier(log: &Log) -> Vec<(u64, Timestamp)> {
    let mut frontier: Vec<(u64, Timestamp)> = Vec::new();
    for step in &log.steps {
        if frontier.last().is_none_or(|(newest, _)| step.number > *newest) {
            frontier.push((step.number, step.at));
        }
    }
    frontier
}

/// How far whoever went on had to go back. Others may be behind for a while, and take over a state later.
fn lost(log: &Log, fault: &Struck) -> u64 {
    let newest = log.steps.iter().take_while(|step| step.at <= fault.at).map(|step| step.number).max();
    let newest = newest.unwrap_or(0);
    // Whoever is struck says nothing for a while: the others' words afterwards tell where they stand.
    let is_left = |step: &&Step| step.at > fault.at && !fault.executors.contains(&step.executor);
    let left: Vec<&Step> = log.steps.iter().filter(is_left).collect();
    let goes_on = |from: u64| left.iter().position(|step| step.number >= from);
    let Some(place) = goes_on(newest + 1).or_else(|| goes_on(newest)) else { return 0 };
    let steps_before = left[..place].iter().rev().filter(|step| step.executor == left[place].executor);
    let mut first = left[place].number;
    for step in steps_before {
        if step.number + 1 != first {
            break;
        }
        first = step.number;
    }
    // The step after the newest, or the newest again, which was under way at theirs.
    newest.saturating_sub(first)
}

fn recoveries(log: &Log) -> u64 {
    let mut views: Vec<_> = log.views.iter().map(|view| (view.number, &view.members)).collect();
    views.sort();
    views.dedup();
    let lost = |before: &[u32], after: &[u32]| before.iter().any(|member| !after.contains(member));
    views.windows(2).filter(|pair| pair[0].0 < pair[1].0 && lost(pair[0].1, pair[1].1)).count() as u64
}

struct StepTime {
    members: usize,
    seconds: f64,
}

/// Of steps that neither a fault nor an evaluation came into.
fn step_times(log: &Log, frontier: &[(u64, Timestamp)], struck: &[Struck]) -> Vec<StepTime> {
    let undisturbed = |from: Timestamp, to: Timestamp| {
        let within = |at: Timestamp| from <= at && at <= to;
        !struck.iter().any(|fault| within(fault.at))
            && !log.evaluations.iter().any(|at| within(*at))
            && !log.views.iter().any(|view| within(view.at))
    };
    let pairs = frontier.windows(2).filter(|pair| pair[1].0 == pair[0].0 + 1);
    pairs
        .filter(|pair| undisturbed(pair[0].1, pair[1].1))
        .map(|pair| StepTime { members: members_at(log, pair[1].1), seconds: seconds(pair[0].1, pair[1].1) })
        .collect()
}

fn members_at(log: &Log, at: Timestamp) -> usize {
    let views = log.views.iter().take_while(|view| view.at <= at);
    views.max_by_key(|view| view.number).map_or(0, |view| view.members.len())
}

fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64()
}

/// Of an unordered list; of none there is none.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    quantile(&values, 0.5)
}

/// Of an ascending list: the value that this part of all values does not exceed.
pub(super) fn quantile(ascending: &[f64], part: f64) -> Option<f64> {
    let place = (ascending.len() as f64 * part).ceil() as usize;
    ascending.get(place.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::chaos::log::View;

    fn at(milliseconds: i64) -> Timestamp {
        Timestamp::from_millisecond(milliseconds).unwrap()
    }

    fn log(steps: &[(i64, u32, u64)], views: &[(i64, u64, &[u32])]) -> Log {
        let step = |&(time, executor, number): &(i64, u32, u64)| Step { at: at(time), executor, number };
        let view = |&(time, number, members): &(i64, u64, &[u32])| View {
            at: at(time),
            number,
            members: members.into(),
        };
        Log {
            steps: steps.iter().map(step).collect(),
            views: views.iter().map(view).collect(),
            evaluations: Vec::new(),
        }
    }

    fn kill(time: i64, executor: u32) -> Struck {
        Struck { at: at(time), executors: vec![executor], is_kill: true }
    }

    /// Two executors, a step every 100 ms.
    const STEPS: [(i64, u32, u64); 8] = [
        (100, 0, 1),
        (101, 1, 1),
        (200, 0, 2),
        (201, 1, 2),
        (300, 0, 3),
        (301, 1, 3),
        (400, 0, 4),
        (401, 1, 4),
    ];

    #[test]
    fn a_pause_is_what_a_kill_adds_to_a_step() {
        let mut steps = STEPS.to_vec();
        // Killed at 450; the survivor does step 5 by itself, 30 ms later than it would have taken alone, and then goes on.
        steps.extend([(630, 0, 5), (780, 0, 6), (930, 0, 7)]);
        let log = log(&steps, &[(50, 1, &[0, 1]), (460, 2, &[0])]);
        let costs = costs(&log, &[kill(450, 1)]);
        assert!(costs.pauses.len() == 1 && (costs.pauses[0] - 0.03).abs() < 1e-9, "{:?}", costs.pauses);
        assert_eq!((costs.steps_lost, costs.recoveries, costs.kills_in_evaluations), (0, 1, 0));
    }

    #[test]
    fn the_interrupted_step_is_not_lost_and_those_before_it_are() {
        // The victim was done with step 4 just before the others.
        let ahead =
            [(100, 0, 1), (101, 1, 1), (200, 0, 2), (201, 1, 2), (300, 0, 3), (301, 1, 3), (400, 1, 4)];
        let mut steps = ahead.to_vec();
        steps.extend([(560, 0, 4), (700, 0, 5)]);
        assert_eq!(costs(&log(&steps, &[]), &[kill(405, 1)]).steps_lost, 0);
        // Nobody was left, and a checkpoint of step 1 was taken up again.
        let mut steps = ahead.to_vec();
        steps.extend([(900, 0, 2), (1000, 0, 3), (1100, 0, 4), (1200, 0, 5)]);
        assert_eq!(costs(&log(&steps, &[]), &[kill(405, 1)]).steps_lost, 2);
    }

    #[test]
    fn executors_that_catch_up_lose_nothing() {
        let mut steps = STEPS.to_vec();
        // Executor 2 comes back from an old checkpoint while the others go on.
        steps.extend([(410, 2, 2), (420, 2, 3), (500, 0, 5), (505, 2, 4), (510, 2, 5)]);
        assert_eq!(costs(&log(&steps, &[]), &[kill(405, 1)]).steps_lost, 0);
    }

    #[test]
    fn who_was_behind_and_takes_over_a_state_loses_nothing_and_who_does_all_again_does() {
        // Executor 2 was frozen at step 1, and has just done the next one alone when 1 is killed.
        let mut steps = STEPS.to_vec();
        steps.extend([(420, 2, 2), (560, 2, 5), (561, 0, 5)]);
        assert_eq!(costs(&log(&steps, &[]), &[kill(405, 1)]).steps_lost, 0);
        // Executor 0 waits for it.
        let mut steps = STEPS.to_vec();
        steps.extend([(420, 2, 2), (520, 2, 3), (620, 2, 4), (720, 2, 5), (725, 0, 5)]);
        assert_eq!(costs(&log(&steps, &[]), &[kill(405, 1)]).steps_lost, 2);
    }

    #[test]
    fn steps_done_again_at_the_end_of_the_job_are_lost() {
        let mut steps = STEPS.to_vec();
        steps.extend([(900, 0, 2), (1000, 0, 3), (1100, 0, 4)]);
        assert_eq!(costs(&log(&steps, &[]), &[kill(405, 1)]).steps_lost, 2);
    }

    #[test]
    fn a_kill_in_an_evaluation_has_no_pause_to_measure() {
        let mut steps = STEPS.to_vec();
        steps.push((900, 0, 5));
        let mut log = log(&steps, &[]);
        log.evaluations.push(at(800));
        let costs = costs(&log, &[kill(450, 1)]);
        assert_eq!((costs.pauses.len(), costs.kills_in_evaluations), (0, 1));
    }

    #[test]
    fn quantiles_are_values_that_were_seen() {
        assert_eq!(quantile(&[], 0.5), None);
        assert_eq!(quantile(&[1.0], 0.9), Some(1.0));
        let ten: Vec<f64> = (1..=10).map(f64::from).collect();
        assert_eq!(
            (quantile(&ten, 0.5), quantile(&ten, 0.9), quantile(&ten, 1.0)),
            (Some(5.0), Some(9.0), Some(10.0))
        );
    }
}
