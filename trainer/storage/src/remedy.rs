//! What to do when HDFS lets nobody in. Its client says it for those who know Kerberos.

use hdfs_native::HdfsError;
use object_store::Error;
use snafu::{IntoError, Snafu};

use crate::cause::{self, Cause};

/// The library that the client loads when an HDFS wants Kerberos.
pub(crate) const NO_LIBRARY: &str = "Failed to load libgssapi";
/// Of an HDFS with Kerberos to a client that is not configured for it.
pub(crate) const NOT_SIMPLE: &str = "SIMPLE authentication is not enabled";

#[derive(Debug, Snafu)]
enum LoginError {
    #[snafu(display(
        "failed to load libgssapi_krb5.so.2, which HDFS with Kerberos needs; install it (Debian: libgssapi-krb5-2, \
         Fedora: krb5-libs)"
    ))]
    Library { source: HdfsError },
    #[snafu(display(
        "failed to log in to HDFS by Kerberos; run kinit, or set LOCKSTEP_KERBEROS_DIR to a folder with principal, \
         keytab and krb5.conf (in a cluster: storage.kerberosSecretRef)"
    ))]
    Kerberos { source: HdfsError },
    #[snafu(display(
        "failed to log in to HDFS without Kerberos; set hadoop.security.authentication to kerberos in core-site.xml, \
         and HADOOP_CONF_DIR to its folder (in a cluster: storage.hadoopConfigMapRef)"
    ))]
    Simple { source: HdfsError },
}

/// The same error, with the remedy where there is one.
pub(crate) fn added(error: Error) -> Error {
    let Error::Generic { store, source } = error else { return error };
    let source = match source.downcast::<HdfsError>() {
        Ok(hdfs) => of_hdfs(*hdfs),
        Err(other) => other,
    };
    Error::Generic { store, source }
}

fn of_hdfs(error: HdfsError) -> Box<dyn std::error::Error + Send + Sync> {
    match &error {
        HdfsError::OperationFailed(message) if message.starts_with(NO_LIBRARY) => {
            LibrarySnafu.into_error(error).into()
        }
        HdfsError::GSSAPIError(..) | HdfsError::SASLError(_) | HdfsError::NoSASLMechanism
            if cause::of_hdfs(&error) == Cause::Denied =>
        {
            KerberosSnafu.into_error(error).into()
        }
        HdfsError::RPCError(_, message) | HdfsError::FatalRPCError(_, message)
            if message.contains(NOT_SIMPLE) =>
        {
            SimpleSnafu.into_error(error).into()
        }
        _ => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_not_let_in_is_told_what_to_do_and_nobody_else_is() {
        let refused = "org.apache.hadoop.security.AccessControlException";
        for (error, remedy) in [
            (HdfsError::OperationFailed("Failed to load libgssapi_krb".into()), "libgssapi-krb5-2"),
            (HdfsError::SASLError("No Kerberos credentials available".into()), "run kinit"),
            (HdfsError::NoSASLMechanism, "run kinit"),
            (
                HdfsError::FatalRPCError(
                    refused.into(),
                    "SIMPLE authentication is not enabled.  Available:[TOKEN, KERBEROS]".into(),
                ),
                "hadoop.security.authentication",
            ),
            (HdfsError::SASLError("Cannot contact any KDC for realm".into()), ""),
            (HdfsError::RPCError(refused.into(), "Permission denied: user=lockstep".into()), ""),
        ] {
            let words = error.to_string();
            let cause = cause::of_hdfs(&error);
            let error = added(Error::Generic { store: "HDFS", source: error.into() });
            assert!(error.to_string().contains(remedy), "{error}");
            assert_eq!(cause::of(&error), cause, "{error}");
            assert_eq!(remedy.is_empty(), error.to_string() == format!("Generic HDFS error: {words}"));
        }
    }
}
