//! What can go wrong with storage, and whether trying again can help.

use snafu::Snafu;

use crate::cause::{self, Cause};

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
    /// A file with Hadoop's configuration or Kerberos' credentials.
    #[snafu(display("failed to read {path}"))]
    ReadConfiguration {
        /// The file.
        path: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// Hadoop's configuration does not lead to a NameNode.
    #[snafu(display(
        "failed to configure the access to {uri}; see core-site.xml and hdfs-site.xml in HADOOP_CONF_DIR"
    ))]
    ConfigureHdfs {
        /// Location of the store.
        uri: String,
        /// The client's own error.
        source: hdfs_native::HdfsError,
    },
    /// The location exists but cannot be used as a store.
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
        matches!(self.cause(), Cause::Transient | Cause::Full)
    }

    /// Whether somebody must free space or raise a quota first.
    pub fn is_full(&self) -> bool {
        self.cause() == Cause::Full
    }

    /// Whether credentials, permissions or the configuration must change first.
    pub fn is_denied(&self) -> bool {
        self.cause() == Cause::Denied
    }

    /// Whether the object simply is not there.
    pub fn is_not_found(&self) -> bool {
        self.cause() == Cause::NotFound
    }

    /// Whether the object is there already, with other bytes.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Conflict { .. })
    }

    fn cause(&self) -> Cause {
        match self {
            Self::OpenStore { .. } | Self::Address { .. } | Self::Conflict { .. } => Cause::Permanent,
            Self::ReadConfiguration { .. } => Cause::Denied,
            Self::ConfigureHdfs { source, .. } => cause::of_hdfs(source),
            Self::OpenFolder { source, .. }
            | Self::Read { source, .. }
            | Self::Write { source, .. }
            | Self::List { source, .. }
            | Self::Delete { source, .. } => cause::of(source),
        }
    }
}
