//! The client in use for one NameNode or name service, and its replacement when nobody answers.
//!
//! A client goes on by itself from a NameNode that is dead or not the active one. For one that is frozen, or whose machine is
//! gone, it waits without end, and asks the same one again next time.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use hdfs_native::Client;
use tokio::time::Instant;

use crate::{Result, hadoop::Recipe};

/// Cheap to clone; clones share the client.
#[derive(Clone)]
pub(crate) struct NameNodes {
    recipe: Arc<Recipe>,
    current: Arc<Mutex<Current>>,
}

struct Current {
    client: Client,
    since: Instant,
    turn: usize,
}

impl fmt::Debug for NameNodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NameNodes").field("recipe", &self.recipe).finish_non_exhaustive()
    }
}

impl NameNodes {
    pub(crate) fn new(recipe: Recipe) -> Result<Self> {
        let current = Current { client: recipe.client(0)?, since: Instant::now(), turn: 0 };
        Ok(Self { recipe: Arc::new(recipe), current: Arc::new(Mutex::new(current)) })
    }

    pub(crate) fn client(&self) -> Client {
        self.current().client.clone()
    }

    /// A call that began then had no answer: later ones shall use new connections, and ask the next NameNode first.
    pub(crate) fn had_no_answer(&self, began: Instant) {
        let mut current = self.current();
        // Other calls that hung with this one have seen to it already.
        if current.since > began {
            return;
        }
        let turn = current.turn + 1;
        match self.recipe.client(turn) {
            Ok(client) => *current = Current { client, since: Instant::now(), turn },
            Err(error) => tracing::warn!(%error, "failed to connect anew; the old connections stay in use"),
        }
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
