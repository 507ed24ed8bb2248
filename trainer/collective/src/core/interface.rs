//! What goes into the core and what comes out.

use super::message::Message;
use crate::{Action, Command};

/// Names a connection; never used twice.
pub type ConnectionId = u64;

/// What happens to the core.
#[derive(Debug)]
pub enum Event {
    /// The application speaks.
    Command(Command),
    /// A connection is open: to the executor that we dialled, or from whoever dialled us.
    Connected {
        /// Its name.
        connection: ConnectionId,
        /// Index of the executor we dialled; `None` when we were dialled.
        dialed: Option<u32>,
    },
    /// A connection is gone.
    Disconnected {
        /// Its name.
        connection: ConnectionId,
    },
    /// A message came.
    Message {
        /// On which connection.
        connection: ConnectionId,
        /// What it says.
        message: Message,
    },
    /// Time passed: [`super::Core::deadline`] is reached.
    Tick,
}

/// What the core wants done.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Tell the application.
    Act(Action),
    /// Send, in order.
    Send {
        /// On which connection.
        connection: ConnectionId,
        /// What.
        message: Message,
    },
    /// Close; the core has forgotten the connection already.
    Close {
        /// Which connection.
        connection: ConnectionId,
        /// For the peer.
        code: CloseCode,
        /// For the log of both ends.
        reason: String,
    },
}

/// Why a connection is closed, as WebSocket close codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseCode {
    /// The peer broke a rule.
    Protocol,
    /// The peer speaks another version of the protocol.
    Version,
    /// The peer belongs to another job, or is not the executor that was dialled.
    Stranger,
    /// A newer connection of the same executor replaces this one.
    Superseded,
    /// Nothing was heard for too long.
    Silent,
}

impl CloseCode {
    /// The number on the wire, of the range for private use.
    #[must_use]
    pub const fn number(self) -> u16 {
        match self {
            Self::Protocol => 4000,
            Self::Version => 4001,
            Self::Stranger => 4002,
            Self::Superseded => 4003,
            Self::Silent => 4004,
        }
    }
}
