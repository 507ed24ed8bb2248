//! The task that drives [`crate::core`] over [`crate::transport`], and the two channels the executor holds.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use snafu::{ResultExt, Snafu, ensure};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::core::{ConnectionId, Core, Effect, Event, MAX_EXECUTORS, Message};
use crate::transport::{
    Acceptor, Certificates, ConnectionIds, Dialer, Incoming, Listener, Outgoing, TlsError, accept, dial,
};
use crate::{Action, Command, Config};

/// `host:port` of the executor with an index; asked (and resolved) again before every attempt to connect.
pub type AddressBook = Arc<dyn Fn(u32) -> String + Send + Sync>;

/// Commands and actions that may wait for the other side.
const CHANNEL: usize = 64;
/// Messages of all connections that may wait for the protocol, of at most a MiB each.
const INCOMING: usize = 64;
/// Actions that may wait for an executor that takes none. It gets a few a round and a few a view.
const MAX_WAITING: usize = 4096;
/// How long [`Group::close`] waits for peers to take what is queued.
const GOODBYE: Duration = Duration::from_secs(2);

/// Where the peers are and how to reach them.
pub struct GroupOptions<L = TcpListener> {
    /// Peers of higher index connect here.
    pub listener: L,
    /// Where peers of lower index listen.
    pub peers: AddressBook,
    /// `None`: plain TCP, for one machine.
    pub tls: Option<Certificates>,
}

/// Why a group did not start.
#[derive(Debug, Snafu)]
#[non_exhaustive]
pub enum GroupError {
    /// The configuration contradicts itself.
    #[snafu(display("failed to use the group's configuration: {reason}"))]
    Configure {
        /// What is wrong.
        reason: &'static str,
    },
    /// The certificates.
    #[snafu(display("failed to use the job's certificates"))]
    Certificates {
        /// What is wrong.
        source: TlsError,
    },
}

impl GroupError {
    /// Whether trying again can help.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Configure { .. } => false,
            Self::Certificates { source } => source.is_retryable(),
        }
    }
}

/// This executor's place in the job.
#[derive(Debug)]
pub struct Group {
    /// To the collective. Sending waits only while the collective is busy, never on the network or on [`Group::actions`].
    pub commands: mpsc::Sender<Command>,
    /// From the collective; `None` only after the group was closed or its task died.
    pub actions: mpsc::Receiver<Action>,
    closing: CancellationToken,
    task: AbortOnDropHandle<()>,
}

impl Group {
    /// Starts listening, dialling and heartbeats. Needs a tokio runtime with I/O and time. Dropping the group cuts all
    /// connections at once; [`close`](Self::close) is the polite way.
    ///
    /// # Errors
    /// [`GroupError`] when the configuration or the certificates cannot be used.
    pub async fn start<L: Listener>(config: Config, options: GroupOptions<L>) -> Result<Self, GroupError> {
        ensure!(config.index < MAX_EXECUTORS, ConfigureSnafu { reason: "the index is too large" });
        ensure!(config.executors >= 1, ConfigureSnafu { reason: "executors is 0" });
        ensure!(config.min_executors >= 1, ConfigureSnafu { reason: "min_executors is 0" });
        let long_enough = config.heartbeat_timeout >= Duration::from_millis(50);
        ensure!(long_enough, ConfigureSnafu { reason: "heartbeat_timeout is shorter than 50 ms" });
        let GroupOptions { listener, peers, tls } = options;
        let identity = tls.map(|tls| tls.identity()).transpose().context(CertificatesSnafu)?;
        let (incoming, events) = mpsc::channel(INCOMING);
        let ids = ConnectionIds::default();
        let mut sockets = JoinSet::new();
        for index in 0..config.index {
            let (peers, identity, ids) = (Arc::clone(&peers), identity.clone(), ids.clone());
            let seed = config.seed.rotate_left(17) ^ config.incarnation;
            sockets.spawn(dial::<L::Stream>(Dialer {
                index,
                peers,
                identity,
                ids,
                incoming: incoming.clone(),
                seed,
            }));
        }
        sockets.spawn(accept(Acceptor { listener, identity, ids, incoming }));
        let (commands, requests) = mpsc::channel(CHANNEL);
        let (answers, actions) = mpsc::channel(CHANNEL);
        let closing = CancellationToken::new();
        let driver = Driver {
            core: Core::new(config, Duration::ZERO),
            began: Instant::now(),
            connections: BTreeMap::new(),
            waiting: VecDeque::new(),
        };
        let task = tokio::spawn(driver.run(requests, answers, events, closing.clone(), sockets));
        Ok(Self { commands, actions, closing, task: AbortOnDropHandle::new(task) })
    }

    /// Sends what is still queued, closes the connections and ends the task.
    pub async fn close(self) {
        let Self { commands, actions, closing, task } = self;
        closing.cancel();
        drop((commands, actions));
        if let Err(error) = task.await {
            tracing::error!(%error, "the collective's task died");
        }
    }
}

struct Socket {
    outgoing: mpsc::Sender<Outgoing>,
    closing: CancellationToken,
}

/// Owns the core; the only place where it meets time and I/O.
struct Driver {
    core: Core,
    began: Instant,
    connections: BTreeMap<ConnectionId, Socket>,
    /// Actions that the executor has no room for yet.
    waiting: VecDeque<Action>,
}

impl Driver {
    async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        actions: mpsc::Sender<Action>,
        mut events: mpsc::Receiver<Incoming>,
        closing: CancellationToken,
        sockets: JoinSet<()>,
    ) {
        loop {
            self.act();
            if self.waiting.len() > MAX_WAITING {
                tracing::error!("the executor takes no actions");
                break;
            }
            let tick = self.began + self.core.deadline();
            tokio::select! {
                permit = actions.reserve(), if !self.waiting.is_empty() => match (permit, self.waiting.pop_front()) {
                    (Ok(permit), Some(action)) => permit.send(action),
                    _ => break,
                },
                command = commands.recv() => match command {
                    Some(command) => self.handle(Event::Command(command)),
                    None => break,
                },
                event = events.recv() => match event {
                    Some(event) => self.on_incoming(event),
                    None => break,
                },
                () = tokio::time::sleep_until(tick) => self.handle(Event::Tick),
                () = closing.cancelled() => break,
            }
        }
        // The executor's last commands may still be in the channel.
        while let Ok(command) = commands.try_recv() {
            self.handle(Event::Command(command));
            self.act();
        }
        self.say_goodbye(events).await;
        drop(sockets);
    }

    fn handle(&mut self, event: Event) {
        self.core.handle(self.began.elapsed(), event);
    }

    fn on_incoming(&mut self, event: Incoming) {
        match event {
            Incoming::Opened { connection, dialed, outgoing, closing } => {
                self.connections.insert(connection, Socket { outgoing, closing });
                self.handle(Event::Connected { connection, dialed });
            }
            Incoming::Message { connection, message } => self.handle(Event::Message { connection, message }),
            Incoming::Closed { connection } => {
                self.connections.remove(&connection);
                self.handle(Event::Disconnected { connection });
            }
        }
    }

    /// Does what the core wants done.
    fn act(&mut self) {
        while let Some(effect) = self.core.poll() {
            match effect {
                Effect::Act(action) => self.waiting.push_back(action),
                Effect::Send { connection, message } => self.send(connection, message),
                Effect::Close { connection, code, reason } => {
                    tracing::info!(connection, ?code, reason, "closing a connection");
                    if let Some(socket) = self.connections.remove(&connection) {
                        // A full queue means that the peer takes nothing: it will not miss the reason.
                        drop(socket.outgoing.try_send(Outgoing::Close(code, reason)));
                        socket.closing.cancel();
                    }
                }
            }
        }
    }

    fn send(&mut self, connection: ConnectionId, message: Message) {
        let Some(socket) = self.connections.get(&connection) else { return };
        match socket.outgoing.try_send(Outgoing::Message(message)) {
            Ok(()) => {}
            // Its end is on its way to us.
            Err(TrySendError::Closed(_)) => {}
            Err(TrySendError::Full(_)) => {
                tracing::warn!(connection, "closing a connection to a peer that takes nothing");
                socket.closing.cancel();
                self.connections.remove(&connection);
                self.handle(Event::Disconnected { connection });
            }
        }
    }

    /// Lets every connection send what is queued, for a while.
    async fn say_goodbye(mut self, mut events: mpsc::Receiver<Incoming>) {
        for socket in self.connections.values() {
            drop(socket.outgoing.try_send(Outgoing::Goodbye));
        }
        let wait = async {
            while !self.connections.is_empty() {
                match events.recv().await {
                    Some(Incoming::Closed { connection }) => drop(self.connections.remove(&connection)),
                    Some(Incoming::Opened { closing, .. }) => closing.cancel(),
                    Some(Incoming::Message { .. }) => {}
                    None => return,
                }
            }
        };
        drop(tokio::time::timeout(GOODBYE, wait).await);
    }
}
