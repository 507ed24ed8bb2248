//! How stores are reached: configuration, credentials and patience. Read once from the environment, then handed to
//! [`Store::open_with`](crate::Store::open_with).

use std::{
    collections::HashMap,
    env,
    ffi::OsString,
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use object_store::aws::AmazonS3ConfigKey;

use crate::{Result, hadoop::Recipe, namenodes::NameNodes};

/// Folder with `core-site.xml` and `hdfs-site.xml`, as Hadoop's own clients have it.
const HADOOP_CONF_DIR: &str = "HADOOP_CONF_DIR";
/// A Hadoop installation, whose `etc/hadoop` stands in for [`HADOOP_CONF_DIR`].
const HADOOP_HOME: &str = "HADOOP_HOME";
/// Folder with `principal` and `keytab`, or `ccache`.
const KERBEROS_DIR: &str = "LOCKSTEP_KERBEROS_DIR";
/// Names the file with Kerberos' realms to its library, which reads the variable when it is loaded.
pub const KRB5_CONFIG: &str = "KRB5_CONFIG";

/// How long a call may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Of one attempt, beside a second for every MiB that it carries.
    pub attempt: Duration,
    /// After this much time no new attempt begins.
    pub total: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { attempt: Duration::from_secs(30), total: Duration::from_secs(60) }
    }
}

/// How to reach stores. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct Access {
    hadoop: Option<PathBuf>,
    kerberos: Option<PathBuf>,
    user: Option<String>,
    /// Settings of S3, the secrets among them.
    s3: Arc<[(AmazonS3ConfigKey, String)]>,
    patience: Patience,
    /// Of each NameNode or name service.
    namenodes: Arc<Mutex<HashMap<String, NameNodes>>>,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access")
            .field("hadoop", &self.hadoop)
            .field("kerberos", &self.kerberos)
            .field("user", &self.user)
            .field("patience", &self.patience)
            .finish_non_exhaustive()
    }
}

impl Access {
    /// From `HADOOP_CONF_DIR`, `LOCKSTEP_KERBEROS_DIR` and what Hadoop's, Kerberos' and S3's own clients read:
    /// `HADOOP_USER_NAME`, `KRB5CCNAME`, `KRB5_CLIENT_KTNAME`, `AWS_*`.
    pub fn from_env() -> Self {
        Self {
            hadoop: folder(HADOOP_CONF_DIR)
                .or_else(|| Some(folder(HADOOP_HOME)?.join("etc/hadoop")).filter(|folder| folder.is_dir())),
            kerberos: folder(KERBEROS_DIR),
            user: None,
            s3: Arc::default(),
            patience: Patience::default(),
            namenodes: Arc::default(),
        }
        .with_s3(env::vars())
    }

    /// With these variables, `AWS_*`, instead of the environment's. Those that mean nothing to S3 are ignored.
    #[must_use]
    pub fn with_s3(self, variables: impl IntoIterator<Item = (String, String)>) -> Self {
        let settings = variables.into_iter().filter_map(|(name, value)| {
            let key = name.starts_with("AWS_").then(|| name.to_ascii_lowercase().parse().ok())??;
            Some((key, value))
        });
        Self { s3: settings.collect(), ..self }
    }

    /// What [`KRB5_CONFIG`] must become in the program's environment for the `krb5.conf` in `LOCKSTEP_KERBEROS_DIR` to be used;
    /// `None`: there is none, or the variable is set.
    pub fn missing_krb5_config(&self) -> Option<OsString> {
        if folder(KRB5_CONFIG).is_some() { None } else { self.krb5_config() }
    }

    fn krb5_config(&self) -> Option<OsString> {
        let file = self.kerberos.as_ref()?.join("krb5.conf");
        let mut files = file.is_file().then(|| file.into_os_string())?;
        files.push(":/etc/krb5.conf");
        Some(files)
    }

    /// As this user in HDFS; with Kerberos, on behalf of this user. `None`: as the environment says.
    #[must_use]
    pub fn with_user(self, user: Option<&str>) -> Self {
        Self { user: user.map(str::to_owned), namenodes: Arc::default(), ..self }
    }

    /// With this patience.
    #[must_use]
    pub fn with_patience(self, patience: Patience) -> Self {
        Self { patience, ..self }
    }

    pub(crate) fn patience(&self) -> Patience {
        self.patience
    }

    pub(crate) fn s3(&self) -> &[(AmazonS3ConfigKey, String)] {
        &self.s3
    }

    /// Those of `authority`, `host:port` or a name service; none: `fs.defaultFS`.
    pub(crate) fn namenodes(&self, uri: &str, authority: &str) -> Result<NameNodes> {
        let mut known = self.namenodes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(namenodes) = known.get(authority) {
            return Ok(namenodes.clone());
        }
        let namenodes = NameNodes::new(Recipe {
            uri: uri.to_owned(),
            authority: authority.to_owned(),
            hadoop: self.hadoop.clone(),
            kerberos: self.kerberos.clone(),
            user: self.user.clone(),
        })?;
        known.insert(authority.to_owned(), namenodes.clone());
        Ok(namenodes)
    }
}

/// A variable that is set to nothing counts as unset.
fn folder(variable: &str) -> Option<PathBuf> {
    env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use tokio::net::TcpListener;

    use super::*;
    use crate::Store;

    fn access(hadoop: &Path) -> Access {
        Access { hadoop: Some(hadoop.into()), kerberos: None, ..Access::from_env() }
    }

    /// The client by itself would wait for the first one in every attempt, and never come to the active one.
    #[tokio::test]
    async fn a_namenode_that_does_not_answer_costs_one_attempt_then_the_other_is_asked_first() {
        let frozen = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let active = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut properties =
            String::from("<property><name>dfs.ha.namenodes.ours</name><value>a, b</value></property>");
        for (name, listener) in [("a", &frozen), ("b", &active)] {
            let address = listener.local_addr().unwrap();
            properties += &format!(
                "<property><name>dfs.namenode.rpc-address.ours.{name}</name><value>{address}</value></property>"
            );
        }
        fs::write(
            folder.path().join("hdfs-site.xml"),
            format!("<configuration>{properties}</configuration>"),
        )
        .unwrap();
        let patience = Patience { attempt: Duration::from_millis(200), total: Duration::from_secs(60) };
        let access = access(folder.path()).with_patience(patience);
        let store = Store::open_with("hdfs://ours/data", &access).unwrap();
        tokio::select! {
            size = store.size("file") => panic!("nobody could answer: {size:?}"),
            // The frozen one's kernel takes the connection, as that of a stopped process does.
            connection = active.accept() => drop(connection.unwrap()),
        }
    }

    #[test]
    fn the_realms_of_the_kerberos_folder_are_to_be_used_and_those_of_the_system_after_them() {
        let folder = tempfile::tempdir().unwrap();
        let access = Access { kerberos: Some(folder.path().into()), ..Access::from_env() };
        assert_eq!(access.krb5_config(), None);
        let file = folder.path().join("krb5.conf");
        fs::write(&file, "").unwrap();
        let wanted = format!("{}:/etc/krb5.conf", file.display());
        assert_eq!(access.krb5_config(), Some(wanted.into()));
        assert_eq!(Access { kerberos: None, ..access }.krb5_config(), None);
    }
}
