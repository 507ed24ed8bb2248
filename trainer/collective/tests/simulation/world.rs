//! N executors on a simulated network in one thread, from one seed: time, processes and what happens to them.

mod faults;
mod network;
mod observation;
mod queue;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use lockstep_collective::core::{ConnectionId, Core, Effect, Event, Message};
use lockstep_collective::{Action, Command, Config};

pub use faults::Faults;
use network::Connection;
use queue::{Happening, Queue};

use crate::app::{App, Job, Work, mix};
use crate::rng::Rng;
use crate::watch::Watch;

#[derive(Debug, Clone, Copy)]
pub struct Setup {
    pub seed: u64,
    pub executors: u32,
    pub min_executors: u32,
    pub rounds: u64,
    pub faults: Option<Faults>,
    /// Faults happen before this moment (microseconds); then everything heals.
    pub storm: u64,
    /// Whether executors share the leaves by how fast they are.
    pub adaptive: bool,
}

struct Process {
    life: u64,
    core: Core,
    app: App,
    turn: u64,
    frozen: bool,
    /// What arrived while frozen.
    inbox: VecDeque<Happening>,
    /// Microseconds a leaf takes.
    pace: u64,
}

pub struct World {
    pub setup: Setup,
    pub job: Job,
    pub rng: Rng,
    pub now: u64,
    queue: Queue,
    processes: BTreeMap<u32, Process>,
    lives: u64,
    connections: BTreeMap<ConnectionId, Connection>,
    next_connection: ConnectionId,
    cut: BTreeSet<(u32, u32)>,
    pub storage: BTreeMap<u64, u64>,
    old_messages: VecDeque<Message>,
    pub trace: u64,
    pub events: u64,
    pub stats: Stats,
    /// Control messages sent so far, heartbeats too.
    pub controls: u64,
    /// Who leaves does not come back.
    pub stay_down: bool,
    /// A start always finds the newest checkpoint.
    pub fresh_listing: bool,
    pub failures_allowed: bool,
    tell: bool,
    watch: Watch,
}

/// What a run went through.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Stats {
    pub views: u64,
    pub snapshots: u64,
    pub computed: u64,
    pub crashes: u64,
    pub cuts: u64,
    pub freezes: u64,
    pub leaves: u64,
    pub garbage: u64,
    pub flaps: u64,
    pub restores: u64,
}

pub const HEARTBEAT: u64 = 400_000;

impl World {
    pub fn new(setup: Setup) -> Self {
        let mut world = Self {
            job: Job::new(setup.seed, setup.rounds),
            rng: Rng::new(setup.seed),
            setup,
            now: 0,
            queue: Queue::default(),
            processes: BTreeMap::new(),
            lives: 0,
            connections: BTreeMap::new(),
            next_connection: 0,
            cut: BTreeSet::new(),
            storage: BTreeMap::new(),
            old_messages: VecDeque::new(),
            trace: 0,
            events: 0,
            stats: Stats::default(),
            controls: 0,
            stay_down: false,
            fresh_listing: false,
            failures_allowed: false,
            tell: std::env::var_os("LOCKSTEP_SIM_TRACE").is_some(),
            watch: Watch::default(),
        };
        for at in 0..setup.executors {
            let delay = world.rng.below(300_000);
            world.after(delay, Happening::Start { at });
            for to in 0..at {
                world.after(delay, Happening::Dial { from: at, to });
            }
        }
        if setup.faults.is_some() {
            world.after(400_000, Happening::Fault);
        }
        world
    }

    fn after(&mut self, delay: u64, happening: Happening) {
        self.queue.put(self.now + delay, happening);
    }

    /// Runs until `done`, or until `limit` (microseconds of simulated time) is reached.
    pub fn run(&mut self, limit: u64, done: impl Fn(&Self) -> bool) -> bool {
        while !done(self) {
            let Some(time) = self.queue.next_time() else { return false };
            if time > limit {
                self.now = limit;
                return false;
            }
            let Some((time, happening)) = self.queue.take() else { return false };
            self.now = time;
            self.events += 1;
            self.happen(happening);
        }
        true
    }

    /// From now on a leaf takes the executor so many microseconds, give or take half of it.
    pub fn set_pace(&mut self, at: u32, pace: u64) {
        if let Some(process) = self.processes.get_mut(&at) {
            process.pace = pace;
        }
    }

    /// Takes back the start of an executor that has not started yet.
    pub fn keep_down(&mut self, at: u32) {
        self.queue.retain(|happening| !matches!(happening, Happening::Start { at: starts } if *starts == at));
    }

    /// A bit of an executor's state flips in memory.
    pub fn corrupt(&mut self, at: u32) {
        if let Some(process) = self.processes.get_mut(&at) {
            process.app.corrupted = true;
        }
    }

    pub fn app(&mut self, at: u32) -> Option<&mut App> {
        self.processes.get_mut(&at).map(|process| &mut process.app)
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Start { at } => self.start(at),
            Happening::Dial { from, to } => self.dial(from, to),
            Happening::Redial { from, to } => self.connect(from, to),
            Happening::Fault => self.fault(),
            Happening::Heal { from, to } => self.heal(from, to),
            Happening::Thaw { at } => self.thaw(at),
            Happening::Deliver { connection, to, message } => {
                if let Some(message) = self.thawed(to, Happening::Deliver { connection, to, message })
                    && let Happening::Deliver { message, .. } = message
                    && self.end(connection, to).is_some_and(|end| self.connections[&connection].open[end])
                {
                    if let (Some(who), Message::Control(control)) = (self.life(to), &message) {
                        self.watch.hears(who, control);
                    }
                    self.handle(to, Event::Message { connection, message });
                }
            }
            Happening::Lost { connection, at } => {
                if self.thawed(at, Happening::Lost { connection, at }).is_some()
                    && let Some(end) = self.end(connection, at)
                    && let Some(link) = self.connections.get_mut(&connection)
                    && std::mem::replace(&mut link.open[end], false)
                {
                    self.handle(at, Event::Disconnected { connection });
                }
            }
            Happening::Connected { connection, at } => {
                if self.thawed(at, Happening::Connected { connection, at }).is_some()
                    && let Some(end) = self.end(connection, at)
                {
                    let link = &self.connections[&connection];
                    let dialed = (end == 0).then_some(link.ends[1]);
                    if link.open[end] {
                        self.handle(at, Event::Connected { connection, dialed });
                    }
                }
            }
            Happening::Tick { at, life, turn } => {
                let due = self
                    .processes
                    .get(&at)
                    .is_some_and(|process| process.life == life && process.turn == turn);
                if due && self.thawed(at, Happening::Tick { at, life, turn }).is_some() {
                    self.handle(at, Event::Tick);
                }
            }
            Happening::Done { at, life, work } => {
                if self.processes.get(&at).is_some_and(|process| process.life == life)
                    && let Some(Happening::Done { work, .. }) =
                        self.thawed(at, Happening::Done { at, life, work })
                    && let Some(process) = self.processes.get_mut(&at)
                {
                    let (commands, work) = process.app.on_done(&self.job, work, &mut self.storage);
                    self.give(at, commands, work);
                }
            }
        }
    }

    /// The happening, unless it has to wait for a frozen process.
    fn thawed(&mut self, at: u32, happening: Happening) -> Option<Happening> {
        match self.processes.get_mut(&at) {
            Some(process) if process.frozen => {
                process.inbox.push_back(happening);
                None
            }
            _ => Some(happening),
        }
    }

    fn start(&mut self, at: u32) {
        if self.processes.contains_key(&at) {
            return;
        }
        self.lives += 1;
        // Usually the newest checkpoint; a listing may also be stale.
        let newest =
            if self.rng.chance(4) && !self.fresh_listing { None } else { self.storage.last_key_value() };
        let (round, state) = newest.map_or((0, App::initial(&self.job)), |(round, state)| (*round, *state));
        let config = Config {
            index: at,
            executors: self.setup.executors,
            min_executors: self.setup.min_executors,
            join_grace: Duration::from_millis(1500),
            heartbeat_timeout: Duration::from_micros(HEARTBEAT),
            start_timeout: Duration::from_secs(60),
            adaptive: self.setup.adaptive,
            job_uid: "job".to_owned(),
            result_hash: [1; 32],
            fingerprint: [2; 32],
            incarnation: mix(self.lives ^ self.setup.seed),
            seed: self.rng.next(),
        };
        let core = Core::with_chunk(config, Duration::from_micros(self.now), 4);
        let app = App::new(round, state, self.setup.min_executors as usize);
        let pace = 500 + self.rng.below(8_000);
        let process =
            Process { life: self.lives, core, app, turn: 0, frozen: false, inbox: VecDeque::new(), pace };
        let ready = process.app.ready(&self.job);
        self.processes.insert(at, process);
        let delay = self.rng.below(20_000);
        let saved = Work::Answer(Command::CheckpointCommitted { round });
        self.after(delay, Happening::Done { at, life: self.lives, work: saved });
        self.after(delay, Happening::Done { at, life: self.lives, work: Work::Answer(ready) });
        self.handle(at, Event::Tick);
    }

    fn life(&self, at: u32) -> Option<(u32, u64)> {
        self.processes.get(&at).map(|process| (at, process.life))
    }

    /// Checks what an executor does against what it promised and heard.
    fn observe(&mut self, at: u32, effect: &Effect) {
        if self.setup.faults.is_some_and(|faults| faults.garbage) {
            return;
        }
        let Some(who) = self.life(at) else { return };
        match effect {
            Effect::Send { message: Message::Control(control), .. } => {
                let mut watch = std::mem::take(&mut self.watch);
                watch.sends(who, control, || self.open_at(at).into_values().flatten().collect());
                self.watch = watch;
            }
            Effect::Act(Action::View { number, members, joined: true }) => {
                let open = self.open_at(at);
                self.watch.enters(who, *number, &open, members);
            }
            Effect::Act(Action::Compute { round, .. }) => self.watch.begins(who, *round),
            _ => {}
        }
    }

    fn handle(&mut self, at: u32, event: Event) {
        let Some(process) = self.processes.get_mut(&at) else { return };
        process.core.handle(Duration::from_micros(self.now), event);
        self.drain(at);
    }

    fn drain(&mut self, at: u32) {
        let mut actions = Vec::new();
        while let Some(effect) = self.processes.get_mut(&at).and_then(|process| process.core.poll()) {
            self.trace = mix(self.trace
                ^ self.now
                ^ u64::from(at) << 40
                ^ match &effect {
                    Effect::Act(_) => 1,
                    Effect::Send { connection, .. } => 2 + connection,
                    Effect::Close { connection, .. } => 3 + connection,
                });
            if self.tell {
                self.tell(at, &effect);
            }
            self.observe(at, &effect);
            match effect {
                Effect::Act(action) => actions.push(action),
                Effect::Send { connection, message } => self.transmit(at, connection, Some(message)),
                Effect::Close { connection, .. } => {
                    if let Some(end) = self.end(connection, at)
                        && let Some(link) = self.connections.get_mut(&connection)
                        && std::mem::replace(&mut link.open[end], false)
                    {
                        self.transmit(at, connection, None);
                    }
                }
            }
        }
        if let Some(process) = self.processes.get_mut(&at) {
            process.turn += 1;
            let tick = Happening::Tick { at, life: process.life, turn: process.turn };
            let deadline = process.core.deadline().as_micros() as u64;
            assert!(
                deadline > self.now || process.core.deadline().as_nanos() as u64 > self.now * 1000,
                "a deadline in the past would spin"
            );
            let delay = (deadline.max(self.now + 1)) - self.now;
            self.after(delay, tick);
        }
        for action in actions {
            let Some(process) = self.processes.get_mut(&at) else { return };
            let (commands, work) = process.app.on_action(&self.job, action, &self.storage);
            self.give(at, commands, work);
        }
        let Some(process) = self.processes.get_mut(&at) else { return };
        assert!(
            self.failures_allowed || process.app.failed.is_none(),
            "executor {at} failed: {:?}",
            process.app.failed
        );
        if process.app.left {
            let round = process.app.round;
            let saved = self.storage.last_key_value().is_some_and(|(saved, _)| *saved >= round);
            // Whoever it left the work to may crash at the same moment: then the newest checkpoint is the bound, as always.
            let crashes = self.setup.faults.is_some_and(|faults| faults.crashes);
            assert!(
                crashes || self.processes.len() > 1 || saved || round == 0,
                "the last one left with what nobody else has"
            );
            self.kill(at);
            let delay = 50_000 + self.rng.below(500_000);
            if !self.stay_down {
                self.after(delay, Happening::Start { at });
            }
        }
    }

    /// Gives commands to the core and schedules work.
    fn give(&mut self, at: u32, commands: Vec<Command>, work: Vec<Work>) {
        let Some(process) = self.processes.get(&at) else { return };
        let (life, pace, round) = (process.life, process.pace, process.app.round);
        for work in work {
            let delay = match &work {
                Work::Leaf { parts, .. } => (pace / 2 + self.rng.below(pace)) * parts.len() as u64 / 2,
                Work::Apply { .. } => 100 + self.rng.below(3_000),
                Work::Install { .. } => 1_000 + self.rng.below(20_000),
                // A busy application: long enough for connections to break and come back while a ballot waits for it.
                Work::Answer(_) if self.storms() && self.rng.chance(8) => self.rng.below(300_000),
                Work::Answer(_) => 100 + self.rng.below(5_000),
                Work::Commit { .. } => 5_000 + self.rng.below(50_000),
            };
            self.after(delay, Happening::Done { at, life, work });
        }
        for command in commands {
            if matches!(command, Command::Ready { .. })
                && round.is_multiple_of(8)
                && round > 0
                && self.rng.chance(3)
            {
                let state = self.processes[&at].app.state;
                let delay = 10_000 + self.rng.below(100_000);
                self.after(delay, Happening::Done { at, life, work: Work::Commit { round, state } });
            }
            self.handle(at, Event::Command(command));
        }
    }

    fn storms(&self) -> bool {
        self.setup.faults.is_some() && self.now < self.setup.storm
    }

    pub fn kill(&mut self, at: u32) {
        let Some(process) = self.processes.remove(&at) else { return };
        self.stats.views += process.app.views;
        self.stats.snapshots += process.app.snapshots;
        self.stats.computed += process.app.computed;
        self.stats.restores += process.app.restores;
        self.lose_connections(at, process.life);
    }

    pub fn leave(&mut self, at: u32) {
        self.handle(at, Event::Command(Command::Leave));
    }

    pub fn restart(&mut self, at: u32, delay: u64) {
        self.after(delay, Happening::Start { at });
    }

    pub fn freeze(&mut self, at: u32, duration: u64) {
        if self.processes.contains_key(&at) {
            self.stop(at);
            self.after(duration, Happening::Thaw { at });
        }
    }

    /// Until it is thawed.
    pub fn stop(&mut self, at: u32) {
        if let Some(process) = self.processes.get_mut(&at) {
            process.frozen = true;
        }
    }

    pub fn thaw(&mut self, at: u32) {
        let Some(process) = self.processes.get_mut(&at) else { return };
        process.frozen = false;
        for happening in std::mem::take(&mut process.inbox) {
            self.happen(happening);
        }
    }

    pub fn finish(&mut self) {
        for process in self.processes.values() {
            process.app.check(&self.job);
            self.stats.views += process.app.views;
            self.stats.snapshots += process.app.snapshots;
            self.stats.computed += process.app.computed;
            self.stats.restores += process.app.restores;
        }
    }
}
