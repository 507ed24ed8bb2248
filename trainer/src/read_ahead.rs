//! Keeps storage out of training's way: what an executor will need is fetched as far ahead as its memory allows.
//!
//! `Plan` cuts the rounds to come into portions: the one that is being used up and the one that is being fetched. Within
//! a portion records are fetched in the order of their places, so the larger it is the more of them travel together.

use std::{collections::VecDeque, future::Future, pin::Pin, time::Duration};

use tokio::{sync::watch, time::sleep};

use crate::{
    course::{Course, Cursor},
    feed::Feed,
    forecast::{Place, Share, next_round},
};

/// Of the room for what is kept. While one portion is used up the next one takes its place, bit by bit; the rest of the
/// room is how far that may be ahead.
pub(crate) const LARGEST_PORTION: f64 = 0.75;
/// The first portion is small, so that it is there soon; each is this much larger than the one before it.
const SMALLEST_PORTION: f64 = LARGEST_PORTION / 64.0;
const GROWTH: f64 = 4.0;
/// After a failed request. Whoever needs a record meanwhile asks for it directly.
const RETRY: Duration = Duration::from_secs(1);

/// The open round of an executor, and which of its micro-batches were asked of it.
#[derive(Clone, Debug)]
pub(crate) struct OpenRound {
    pub cursor: Cursor,
    pub leaves: Vec<u32>,
}

/// What will be read, from some round on.
struct Plan {
    share: Share,
    /// The newest round that was opened.
    open: u64,
    /// In order; the first is being used up.
    portions: VecDeque<Portion>,
    /// The first round that is in no portion yet; none after the last one.
    rest: Option<Cursor>,
    /// Of the next portion, as a part of the room.
    size: f64,
}

struct Portion {
    /// Ascending, one after the other.
    rounds: VecDeque<(u64, Vec<Place>)>,
}

impl Portion {
    fn holds(&self, round: u64) -> bool {
        let number = |planned: &(u64, Vec<Place>)| planned.0;
        self.rounds.front().map(number) <= Some(round) && Some(round) <= self.rounds.back().map(number)
    }

    fn forget_up_to(&mut self, round: u64) {
        while self.rounds.front().is_some_and(|(planned, _)| *planned <= round) {
            self.rounds.pop_front();
        }
    }
}

impl Plan {
    /// For an executor whose open round is `open`: from the next one on.
    fn new(course: &Course, open: &OpenRound) -> Self {
        Self {
            share: Share::new(open.cursor.stage, &open.leaves),
            open: open.cursor.round,
            portions: VecDeque::new(),
            rest: next_round(course, &open.cursor),
            size: SMALLEST_PORTION,
        }
    }

    /// Whether it foretold `open`: a later round of the plan, or the open one again, with the same share.
    fn foretold(&self, course: &Course, open: &OpenRound) -> bool {
        let round = open.cursor.round;
        let planned = self.portions.iter().any(|portion| portion.holds(round));
        let share = Share::new(open.cursor.stage, &open.leaves);
        (planned || round == self.open)
            && self.share.of(course, &open.cursor) == share.of(course, &open.cursor)
    }

    /// Forgets rounds up to `round`; true when there is room for another portion, which `cost` then measures.
    fn advance(&mut self, course: &Course, round: u64, cost: impl Fn(Place) -> f64) -> bool {
        self.open = round;
        self.portions.iter_mut().for_each(|portion| portion.forget_up_to(round));
        self.portions.retain(|portion| !portion.rounds.is_empty());
        let mut grew = false;
        while self.portions.len() < 2
            && let Some(portion) = self.next_portion(course, &cost)
        {
            self.portions.push_back(portion);
            grew = true;
        }
        grew
    }

    /// As many rounds as fit, at least one and at most an epoch.
    fn next_portion(&mut self, course: &Course, cost: impl Fn(Place) -> f64) -> Option<Portion> {
        let mut rounds = VecDeque::new();
        let mut filled = 0.0;
        // Beside the steps the evaluation.
        while let Some(cursor) = &self.rest
            && rounds.len() as u64 <= course.steps_per_epoch()
        {
            let places = self.share.of(course, cursor);
            filled += places.iter().map(|place| cost(*place)).sum::<f64>();
            if filled > self.size && !rounds.is_empty() {
                break;
            }
            rounds.push_back((cursor.round, places));
            self.rest = next_round(course, cursor);
        }
        self.size = (self.size * GROWTH).min(LARGEST_PORTION);
        (!rounds.is_empty()).then_some(Portion { rounds })
    }

    fn portions(&self) -> Vec<Vec<Place>> {
        let places =
            |portion: &Portion| portion.rounds.iter().flat_map(|(_, places)| places).copied().collect();
        self.portions.iter().map(places).collect()
    }
}

/// Reads ahead of the rounds that `opened` tells of, until nobody tells any more.
pub(crate) async fn run(feed: &Feed, mut opened: watch::Receiver<Option<OpenRound>>) {
    let course = feed.course();
    let mut plan: Option<Plan> = None;
    let mut fetching: Option<Pin<Box<dyn Future<Output = ()> + Send + '_>>> = None;
    loop {
        tokio::select! {
            changed = opened.changed() => if changed.is_err() { return },
            () = async { if let Some(fetching) = &mut fetching { fetching.await } }, if fetching.is_some() => {
                fetching = None;
                continue;
            }
        }
        let Some(open) = opened.borrow_and_update().clone() else { continue };
        let current = plan.take().filter(|plan| plan.foretold(course, &open));
        let current = plan.insert(current.unwrap_or_else(|| Plan::new(course, &open)));
        if current.advance(course, open.cursor.round, |place| feed.part_of_room(place)) {
            let portions = current.portions();
            feed.expect(&portions);
            fetching = Some(Box::pin(fetch(feed, portions)));
        }
    }
}

async fn fetch(feed: &Feed, portions: Vec<Vec<Place>>) {
    while let Err(error) = feed.fetch(&portions).await {
        tracing::debug!(error = %snafu::Report::from_error(&error), "reading ahead failed; trying again");
        sleep(RETRY).await;
    }
}

#[cfg(test)]
mod tests;
