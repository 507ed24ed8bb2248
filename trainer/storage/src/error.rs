//! What can go wrong with storage, and whether trying again can help.

use std::io::ErrorKind;

use snafu::Snafu;

/// A failed action on a store or an object in it.
#[derive(Debug, Snafu)]
#[snafu(visibility(pub(crate)))]
pub enum Error {
    /// The URI names no store that this build can open.
    #[snafu(display("failed to open the store {uri:?}: {reason}"))]
    OpenStore {
        /// As the user wrote it.
        uri: String,
        /// What is wrong with it and what would be right.
        reason: String,
    },
    /// The location exists in the file system but cannot be used as a store.
    #[snafu(display("failed to open the folder {uri}"))]
    OpenFolder {
        /// Location of the store.
        uri: String,
        /// The store's own error.
        source: object_store::Error,
    },
    /// A relative path inside a store is not a plain one (empty segments, `..`, control characters).
    #[snafu(display("failed to address {path:?} in {uri}: not a plain relative path"))]
    Address {
        /// Location of the store.
        uri: String,
        /// Path below it.
        path: String,
    },
    /// Reading an object, or a part of it.
    #[snafu(display("failed to read {uri}/{path}"))]
    Read {
        /// Location of the store.
        uri: String,
        /// Path below it.
        path: String,
        /// The store's own error.
        source: object_store::Error,
    },
    /// Writing an object.
    #[snafu(display("failed to write {uri}/{path}"))]
    Write {
        /// Location of the store.
        uri: String,
        /// Path below it.
        path: String,
        /// The store's own error.
        source: object_store::Error,
    },
    /// Listing the objects below a path.
    #[snafu(display("failed to list {uri}/{path}"))]
    List {
        /// Location of the store.
        uri: String,
        /// Path below it.
        path: String,
        /// The store's own error.
        source: object_store::Error,
    },
    /// Deleting an object.
    #[snafu(display("failed to delete {uri}/{path}"))]
    Delete {
        /// Location of the store.
        uri: String,
        /// Path below it.
        path: String,
        /// The store's own error.
        source: object_store::Error,
    },
    /// An object that must be created once is there already, with other bytes.
    #[snafu(display(
        "failed to create {uri}/{path}: it exists with other content (sha256 {found}, ours {wanted})"
    ))]
    Conflict {
        /// Location of the store.
        uri: String,
        /// Path below it.
        path: String,
        /// SHA-256 of the bytes that are there, hex.
        found: String,
        /// SHA-256 of the bytes that were to be written, hex.
        wanted: String,
    },
}

impl Error {
    /// Whether the same call may succeed later without anybody changing the job.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::OpenStore { .. } | Self::Address { .. } | Self::Conflict { .. } => false,
            Self::OpenFolder { source, .. }
            | Self::Read { source, .. }
            | Self::Write { source, .. }
            | Self::List { source, .. }
            | Self::Delete { source, .. } => is_transient(source),
        }
    }

    /// Whether the object simply is not there.
    pub fn is_not_found(&self) -> bool {
        match self {
            Self::OpenFolder { source, .. }
            | Self::Read { source, .. }
            | Self::Write { source, .. }
            | Self::List { source, .. }
            | Self::Delete { source, .. } => matches!(source, object_store::Error::NotFound { .. }),
            Self::OpenStore { .. } | Self::Address { .. } | Self::Conflict { .. } => false,
        }
    }

    /// Whether the object is there already, with other bytes.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Conflict { .. })
    }
}

/// A full disk is transient: it can be freed while the job waits.
fn is_transient(error: &object_store::Error) -> bool {
    use object_store::Error as E;
    match error {
        E::NotFound { .. }
        | E::InvalidPath { .. }
        | E::NotSupported { .. }
        | E::AlreadyExists { .. }
        | E::Precondition { .. }
        | E::NotModified { .. }
        | E::NotImplemented { .. }
        | E::PermissionDenied { .. }
        | E::Unauthenticated { .. }
        | E::UnknownConfigurationKey { .. } => false,
        other => match io_error_kind(other) {
            Some(kind) => !matches!(
                kind,
                ErrorKind::PermissionDenied
                    | ErrorKind::ReadOnlyFilesystem
                    | ErrorKind::NotADirectory
                    | ErrorKind::IsADirectory
                    | ErrorKind::InvalidFilename
            ),
            None => true,
        },
    }
}

fn io_error_kind(error: &object_store::Error) -> Option<ErrorKind> {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            return Some(io.kind());
        }
        source = cause.source();
    }
    None
}
