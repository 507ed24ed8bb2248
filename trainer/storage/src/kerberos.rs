//! Kerberos' credentials in a folder, as a Secret is mounted or a person keeps it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use hdfs_native::ClientBuilder;
use snafu::ResultExt;

use crate::{
    Result,
    error::{OpenStoreSnafu, ReadConfigurationSnafu},
};

/// A principal, and where its tickets come from.
#[derive(Clone, Debug)]
pub(crate) struct Credentials {
    principal: String,
    from: Tickets,
}

#[derive(Clone, Debug)]
enum Tickets {
    Keytab(PathBuf),
    Cache(PathBuf),
}

impl Credentials {
    /// Of the files `principal` and `keytab`, or `principal` and `ccache`.
    pub(crate) fn read(folder: &Path, uri: &str) -> Result<Self> {
        let file = |name: &str| Some(folder.join(name)).filter(|path| path.exists());
        let principal = match file("principal") {
            Some(path) => fs::read_to_string(&path)
                .context(ReadConfigurationSnafu { path: path.display().to_string() })?,
            None => String::new(),
        };
        let principal = principal.trim().to_owned();
        let refuse = |reason: String| OpenStoreSnafu { uri, reason }.fail();
        if principal.is_empty() {
            return refuse(format!("{} has no file principal with the Kerberos principal", folder.display()));
        }
        let from = match (file("keytab"), file("ccache")) {
            (Some(keytab), _) => Tickets::Keytab(keytab),
            (None, Some(cache)) => Tickets::Cache(cache),
            (None, None) => {
                let folder = folder.display();
                return refuse(format!(
                    "{folder} has neither a keytab nor a ccache (a Kerberos ticket cache)"
                ));
            }
        };
        Ok(Self { principal, from })
    }

    /// What HDFS calls the principal where nothing else is configured: without host and realm.
    pub(crate) fn short_name(&self) -> &str {
        self.principal.split(['/', '@']).next().unwrap_or(&self.principal)
    }

    pub(crate) fn into_builder(self, builder: ClientBuilder) -> ClientBuilder {
        let builder = builder.with_kerberos_principal(self.principal);
        match self.from {
            Tickets::Keytab(path) => builder.with_kerberos_keytab(path.to_string_lossy()),
            Tickets::Cache(path) => builder.with_kerberos_cache(format!("FILE:{}", path.display())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_a_principal_with_a_keytab_or_else_a_ticket_cache() {
        let folder = tempfile::tempdir().unwrap();
        let read = || Credentials::read(folder.path(), "hdfs://ours/data");
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write("keytab", "");
        assert!(read().unwrap_err().to_string().contains("no file principal"));
        write("principal", "lockstep/host@EXAMPLE.COM\n");
        let credentials = read().unwrap();
        assert_eq!(
            (credentials.principal.as_str(), credentials.short_name()),
            ("lockstep/host@EXAMPLE.COM", "lockstep")
        );
        assert!(matches!(credentials.from, Tickets::Keytab(_)));
        fs::remove_file(folder.path().join("keytab")).unwrap();
        let error = read().unwrap_err();
        assert!(error.to_string().contains("neither a keytab nor a ccache") && !error.is_retryable());
        write("ccache", "");
        assert!(matches!(read().unwrap().from, Tickets::Cache(_)));
    }
}
