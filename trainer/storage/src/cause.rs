//! What a store's error means for whoever made the call. A pure function of the error.
//!
//! HDFS tells by the Java class of the NameNode's exception; the classes are those of Hadoop 3.5's
//! `org.apache.hadoop.{hdfs.protocol,hdfs.server.namenode,ipc,security}`.

use std::io::ErrorKind;

use hdfs_native::HdfsError;

use crate::{remedy::NO_LIBRARY, s3};

/// What can be done about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The same call may succeed in a moment.
    Transient,
    /// Somebody must free space or raise a quota.
    Full,
    /// There is no such object.
    NotFound,
    /// Whoever asks is not let in: credentials, permissions or the configuration must change.
    Denied,
    /// Trying again cannot help.
    Permanent,
}

pub(crate) fn of(error: &object_store::Error) -> Cause {
    use object_store::Error as E;
    match error {
        E::NotFound { .. } => Cause::NotFound,
        E::InvalidPath { .. }
        | E::NotSupported { .. }
        | E::AlreadyExists { .. }
        | E::Precondition { .. }
        | E::NotModified { .. }
        | E::NotImplemented { .. }
        | E::UnknownConfigurationKey { .. } => Cause::Permanent,
        E::PermissionDenied { .. } | E::Unauthenticated { .. } => Cause::Denied,
        other => deepest(other),
    }
}

/// By the first cause in the chain that says something.
fn deepest(error: &object_store::Error) -> Cause {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(hdfs) = cause.downcast_ref::<HdfsError>() {
            return of_hdfs(hdfs);
        }
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            return of_io(io.kind());
        }
        if cause.is::<s3::Refused>() {
            return Cause::Denied;
        }
        source = cause.source();
    }
    Cause::Transient
}

fn of_io(kind: ErrorKind) -> Cause {
    match kind {
        ErrorKind::NotFound => Cause::NotFound,
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Cause::Full,
        ErrorKind::PermissionDenied => Cause::Denied,
        ErrorKind::ReadOnlyFilesystem
        | ErrorKind::NotADirectory
        | ErrorKind::IsADirectory
        | ErrorKind::InvalidFilename => Cause::Permanent,
        _ => Cause::Transient,
    }
}

pub(crate) fn of_hdfs(error: &HdfsError) -> Cause {
    use HdfsError as E;
    match error {
        E::OperationFailed(message) if message.starts_with(NO_LIBRARY) => Cause::Denied,
        // Sockets, not files: a name that does not resolve yet, a daemon that is not up yet.
        E::IOError(_)
        | E::DataTransferError(_)
        | E::ChecksumError
        | E::OperationFailed(_)
        | E::BlocksNotFound(_)
        | E::InternalError(_)
        | E::InvalidRPCResponse(_) => Cause::Transient,
        E::AlreadyExists(message) if message.contains("lease") => Cause::Transient,
        E::FileNotFound(_) => Cause::NotFound,
        E::RPCError(class, message) | E::FatalRPCError(class, message) => of_exception(class, message),
        E::GSSAPIError(_, _, message) | E::SASLError(message) => of_kerberos(message),
        E::AlreadyExists(_)
        | E::InvalidPath(_)
        | E::InvalidArgument(_)
        | E::UrlParseError(_)
        | E::IsADirectoryError(_)
        | E::TrashNotEnabled
        | E::UnsupportedErasureCodingPolicy(_)
        | E::ErasureCodingError(_)
        | E::UnsupportedFeature(_)
        | E::XmlParseError(_) => Cause::Permanent,
        E::NoSASLMechanism => Cause::Denied,
    }
}

/// A NameNode's exception. Those that nobody knows are worth another try.
fn of_exception(class: &str, message: &str) -> Cause {
    match class.rsplit(['.', '$']).next().unwrap_or(class) {
        "FileNotFoundException" => Cause::NotFound,
        "DSQuotaExceededException"
        | "NSQuotaExceededException"
        | "QuotaByStorageTypeExceededException"
        | "QuotaExceededException" => Cause::Full,
        "AccessControlException" | "AuthorizationException" | "SnapshotAccessControlException" => {
            Cause::Denied
        }
        "FileAlreadyExistsException"
        | "InvalidPathException"
        | "MaxDirectoryItemsExceededException"
        | "ParentNotDirectoryException"
        | "PathComponentTooLongException"
        | "PathIsNotEmptyDirectoryException"
        | "UnsupportedOperationException" => Cause::Permanent,
        // The KDC's or a proxy user's refusal comes as a plain RPC exception.
        _ if message.contains("is not allowed to impersonate") => Cause::Denied,
        _ => Cause::Transient,
    }
}

/// A KDC that is away comes back; a ticket that is missing does not come by itself.
fn of_kerberos(message: &str) -> Cause {
    let away = ["Cannot contact any KDC", "Cannot resolve", "timed out", "Clock skew"];
    if away.iter().any(|words| message.contains(words)) { Cause::Transient } else { Cause::Denied }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rpc(class: &str, message: &str) -> HdfsError {
        HdfsError::RPCError(class.into(), message.into())
    }

    #[test]
    fn hdfs_errors_are_classed_by_their_cause() {
        use Cause::*;
        let io = |kind| HdfsError::IOError(std::io::Error::from(kind));
        for (error, cause) in [
            (io(ErrorKind::ConnectionRefused), Transient),
            (io(ErrorKind::TimedOut), Transient),
            (HdfsError::DataTransferError("No new datanode found".into()), Transient),
            (HdfsError::DataTransferError("Failed to replay packets".into()), Transient),
            (HdfsError::DataTransferError("All DataNodes failed".into()), Transient),
            (HdfsError::AlreadyExists("/x: the lease is currently owned by DFSClient".into()), Transient),
            (HdfsError::AlreadyExists("/x".into()), Permanent),
            (HdfsError::FileNotFound("/x".into()), NotFound),
            (rpc("java.io.FileNotFoundException", "/x"), NotFound),
            (rpc("org.apache.hadoop.hdfs.server.namenode.SafeModeException", "Cannot create"), Transient),
            (rpc("org.apache.hadoop.ipc.StandbyException", "Operation category READ"), Transient),
            (rpc("org.apache.hadoop.ipc.RetriableException", "NameNode still not started"), Transient),
            (
                rpc("java.io.IOException", "could only be written to 0 of the 1 minReplication nodes"),
                Transient,
            ),
            (rpc("org.apache.hadoop.hdfs.protocol.DSQuotaExceededException", "The DiskSpace quota"), Full),
            (rpc("org.apache.hadoop.hdfs.protocol.NSQuotaExceededException", "The NameSpace quota"), Full),
            (rpc("org.apache.hadoop.fs.ParentNotDirectoryException", "/x is a file"), Permanent),
            (rpc("org.apache.hadoop.security.AccessControlException", "Permission denied"), Denied),
            (
                HdfsError::FatalRPCError(
                    "org.apache.hadoop.security.AccessControlException".into(),
                    "SIMPLE authentication is not enabled.".into(),
                ),
                Denied,
            ),
            (HdfsError::SASLError("Cannot contact any KDC for realm 'EXAMPLE.COM'".into()), Transient),
            (HdfsError::SASLError("No Kerberos credentials available".into()), Denied),
            (HdfsError::NoSASLMechanism, Denied),
            // Without the library no attempt of many succeeds.
            (HdfsError::OperationFailed("Failed to load libgssapi_krb".into()), Denied),
            (HdfsError::OperationFailed("Failed to create file".into()), Transient),
        ] {
            assert_eq!(of_hdfs(&error), cause, "{error}");
            let wrapped = object_store::Error::Generic { store: "HDFS", source: Box::new(error) };
            assert_eq!(of(&wrapped), cause, "{wrapped}");
        }
    }

    #[test]
    fn a_full_disk_is_full_and_a_read_only_one_is_permanent() {
        for (kind, cause) in [
            (ErrorKind::StorageFull, Cause::Full),
            (ErrorKind::QuotaExceeded, Cause::Full),
            (ErrorKind::ReadOnlyFilesystem, Cause::Permanent),
            (ErrorKind::TimedOut, Cause::Transient),
        ] {
            let error = object_store::Error::Generic {
                store: "LocalFileSystem",
                source: Box::new(std::io::Error::from(kind)),
            };
            assert_eq!(of(&error), cause);
        }
    }
}
