//! What can be seen of a world without changing it.

use lockstep_collective::core::{Control, Effect, Message};

use super::{Process, World};
use crate::app::App;

impl World {
    pub fn all_finished(&self) -> bool {
        self.processes.len() == self.setup.executors as usize
            && self.processes.values().all(|process| !process.frozen && process.app.round == self.job.rounds)
    }

    pub fn process_round(&self, at: u32) -> Option<u64> {
        self.processes.get(&at).map(|process| process.app.round)
    }

    /// Leaves that an executor has computed.
    pub fn computed(&self, at: u32) -> u64 {
        self.processes.get(&at).map_or(0, |process| process.app.computed)
    }

    pub fn is_between_parts(&self, at: u32) -> bool {
        self.processes.get(&at).is_some_and(|process| process.app.between_parts)
    }

    pub fn is_joined(&self, at: u32) -> bool {
        self.processes.get(&at).is_some_and(|process| process.app.joined)
    }

    /// Members of the view that an executor works in, as it was told.
    pub fn members(&self, at: u32) -> Vec<u32> {
        self.processes
            .get(&at)
            .filter(|process| process.app.joined)
            .map(|process| process.app.members.clone())
            .unwrap_or_default()
    }

    /// 1 while the executor runs.
    pub fn lives(&self, at: u32) -> usize {
        usize::from(self.processes.contains_key(&at))
    }

    pub fn has_failed(&self, at: u32) -> bool {
        self.processes.get(&at).is_some_and(|process| process.app.failed.is_some())
    }

    pub fn describe(&self) -> String {
        let line = |(at, process): (&u32, &Process)| {
            let App { round, joined, last_word, .. } = &process.app;
            format!(
                "  executor {at}: round {round}, joined {joined}, frozen {}: {last_word}\n{:#?}\n",
                process.frozen, process.core
            )
        };
        format!(
            "at {} us, {} events, {:?}\n{}",
            self.now,
            self.events,
            self.stats,
            self.processes.iter().map(line).collect::<String>()
        )
    }

    /// Prints the story of a replay, heartbeats and tensors left out.
    pub(super) fn tell(&self, at: u32, effect: &Effect) {
        let round = self.process_round(at).unwrap_or(0);
        match effect {
            Effect::Send { message: Message::Control(Control::Status(_)), .. } => {}
            Effect::Send { connection, message: Message::Control(control) } => {
                let to = self
                    .connections
                    .get(connection)
                    .map_or(at, |link| link.ends[usize::from(link.ends[0] == at)]);
                eprintln!("{:>9} {at}@{round} to {to}: {control:?}", self.now);
            }
            Effect::Send { .. } => {}
            Effect::Act(action) => eprintln!("{:>9} {at}@{round} does {action:?}", self.now),
            Effect::Close { connection, code, reason } => {
                eprintln!("{:>9} {at}@{round} closes {connection}: {code:?} {reason}", self.now);
            }
        }
    }
}
