//! The collective: who trains together, the start barrier, and the all-reduce whose bits do not depend on who takes part.
//!
//! A *round* is one reduction: it takes the replicated state of the job from version `r` to `r + 1`. A training step is a
//! round, and so is one batch of an evaluation; the collective knows rounds, not epochs. Every round sums the vectors of a
//! fixed list of *leaves* (micro-batches) in one fixed binary [`tree`], whoever computed which leaf.
//!
//! An executor talks to the rest of the job through a [`Group`]: it sends [`Command`]s and receives [`Action`]s over two
//! bounded channels. [`core`] is the protocol without sockets, clocks or threads, [`frame`] its wire format, [`transport`]
//! its WebSockets; the executor's loop needs none of the three.
//!
//! # The executor's side of the conversation
//! The application always holds the state at one version and never blocks while it waits:
//!
//! 1. Load the newest checkpoint or initialise, then send [`Command::Ready`] with the state's version and the
//!    [`Plan`] of its next round. [`Command::Ready`] is sent again after *every* change of the state, and only then.
//! 2. [`Action::Compute`]: compute the sums of these tree nodes. It replaces any earlier list. Keep [`tree::PartFolders`] for
//!    the open round: [`tree::PartFolders::want`] the nodes, compute [`tree::PartFolders::missing`] leaves in any order on any
//!    number of threads, [`tree::PartFolders::insert`] each part of each as it comes, and send every sum that comes out as
//!    [`Command::Sum`]. A new view may ask for other nodes of the same round: partial sums in the folders serve them. A leaf
//!    that is still missing after its last part (its first one came too early for what is wanted now) is computed again. An
//!    empty list means "nothing for you".
//! 3. [`Action::Reduced`]: the tree's root. Apply it (multiply by 1/leaves, optimizer, statistics), then `Ready` for
//!    `round + 1`. It also comes without any `Compute` before it: a learner follows the others' rounds this way.
//! 4. In between, answer [`Action::HashState`] by [`Command::StateHash`] and [`Action::TakeSnapshot`] by
//!    [`Command::Snapshot`], both about the state as it is at that moment (the version is named; an answer may come later and
//!    from another thread, the state that it describes may not change), and [`Action::InstallSnapshot`] and
//!    [`Action::RestoreCheckpoint`] by replacing the state, dropping the folder, and `Ready`.
//! 5. [`Plan::Finished`] ends the training: no further round is opened; the application writes its results and
//!    [`Group::close`]s. SIGTERM is [`Command::Leave`], answered by [`Action::Left`].
//!
//! ```no_run
//! # async fn executor(config: lockstep_collective::Config, options: lockstep_collective::GroupOptions)
//! # -> Result<(), lockstep_collective::GroupError> {
//! use lockstep_collective::tree::{NodeSum, PartFolders, Tree};
//! use lockstep_collective::{Action, Command, Group, Part, Plan};
//!
//! let mut group = Group::start(config, options).await?;
//! let plan = Plan::Reduce { leaves: 16, len: 591_658, cut: 66_000, counts: 2 };
//! let mut round = 0;
//! let mut folders = PartFolders::new(Tree::new(16));
//! let _ = group.commands.send(Command::Ready { round, plan }).await;
//! while let Some(action) = group.actions.recv().await {
//!     match action {
//!         Action::Compute { round, nodes } => {
//!             folders.want(&nodes);
//!             for leaf in folders.missing() { /* start it on a worker thread, unless it is running already */ }
//! #           let leaf = 0; let part = Part::Upper; let sum = NodeSum { values: vec![], counts: vec![] };
//!             // ... and as each part of each leaf comes back:
//!             for (part, node, sum) in folders.insert(part, leaf, sum) {
//!                 let _ = group.commands.send(Command::Sum { round, part, node, sum }).await;
//!             }
//!         }
//!         Action::Reduced { round: reduced, values, counts, spent: _ } => {
//!             // apply (values, counts) to the state, then:
//!             round = reduced + 1;
//!             folders = PartFolders::new(Tree::new(16));
//!             let _ = group.commands.send(Command::Ready { round, plan }).await;
//!         }
//!         Action::Left => break,
//!         _ => {}
//!     }
//! }
//! group.close().await;
//! # Ok(())
//! # }
//! ```
//!
//! # What the collective promises
//! - Every `Reduced { round }` carries the same bits on every executor, for any membership and after any failure, as long as
//!   the application's state is a pure function of (job, round).
//! - Survivors of a loss go on from the open round; a returning executor catches up while the others train.
//! - Nothing a peer sends changes a result or ends the process.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod api;
pub mod core;
pub mod frame;
mod group;
mod part;
pub mod transport;
pub mod tree;

pub use api::{Action, Command, Config, Hash, Plan};
pub use group::{AddressBook, Group, GroupError, GroupOptions};
pub use part::{Part, PerPart};
pub use transport::{Certificates, TlsError};
