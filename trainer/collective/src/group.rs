//! The task that drives [`crate::core`] over [`crate::transport`], and the two channels the executor holds.

use std::sync::Arc;

use snafu::Snafu;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::{Action, Command, Config};

/// `host:port` of the executor with an index; asked (and resolved) again before every attempt to connect.
pub type AddressBook = Arc<dyn Fn(u32) -> String + Send + Sync>;

/// The job's certificate, in PEM. Both ends of every connection are checked against `ca`.
#[derive(Clone)]
pub struct Tls {
    /// Certificates to trust.
    pub ca: Vec<u8>,
    /// This executor's certificate chain, for DNS name `lockstep-executor`.
    pub certificate: Vec<u8>,
    /// Its private key.
    pub key: Vec<u8>,
}

/// Where the peers are and how to reach them.
pub struct GroupOptions {
    /// Peers of higher index connect here.
    pub listener: TcpListener,
    /// Where peers of lower index listen.
    pub peers: AddressBook,
    /// `None`: plain TCP, for one machine.
    pub tls: Option<Tls>,
}

/// Why a group did not start.
#[derive(Debug, Snafu)]
#[snafu(visibility(pub(crate)))]
#[non_exhaustive]
pub enum GroupError {
    /// The configuration contradicts itself.
    #[snafu(display("failed to use the group's configuration: {reason}"))]
    Configure {
        /// What is wrong.
        reason: String,
    },
}

impl GroupError {
    /// Whether trying again can help.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Configure { .. } => false,
        }
    }
}

/// This executor's place in the job.
#[derive(Debug)]
pub struct Group {
    /// To the collective. Sending waits only while the collective is busy, never on the network.
    pub commands: mpsc::Sender<Command>,
    /// From the collective; `None` only after [`Group::close`] or a broken invariant.
    pub actions: mpsc::Receiver<Action>,
}

impl Group {
    /// Starts listening, dialling and heartbeats. Needs a tokio runtime with I/O and time.
    ///
    /// # Errors
    /// [`GroupError`] when the configuration or the certificates cannot be used.
    pub async fn start(config: Config, options: GroupOptions) -> Result<Self, GroupError> {
        let _ = (config, options);
        ConfigureSnafu { reason: "not built yet" }.fail()
    }

    /// Sends what is still queued, closes the connections and ends the task.
    pub async fn close(self) {}
}
