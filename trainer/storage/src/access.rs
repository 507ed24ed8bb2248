//! How stores are reached: configuration, credentials and patience. Read once from the environment, then handed to
//! [`Store::open_with`](crate::Store::open_with).

use std::{
    collections::HashMap,
    env, fmt, fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use hdfs_native::{Client, ClientBuilder};
use object_store::aws::AmazonS3ConfigKey;
use snafu::ResultExt;

use crate::{
    Result,
    error::{ConfigureHdfsSnafu, OpenStoreSnafu, ReadConfigurationSnafu},
    io_runtime,
};

/// Folder with `core-site.xml` and `hdfs-site.xml`, as Hadoop's own clients have it.
const HADOOP_CONF_DIR: &str = "HADOOP_CONF_DIR";
/// Folder with `principal` and `keytab`, or `ccache`.
const KERBEROS_DIR: &str = "LOCKSTEP_KERBEROS_DIR";

/// What Hadoop leaves at values for batch jobs that nobody waits for. The user's files win.
const HADOOP_DEFAULTS: [(&str, &str); 5] = [
    // A frozen DataNode is given up after this, not after a minute.
    ("dfs.client.socket-timeout", "10000"),
    // A pipeline goes on with the DataNodes that are left.
    ("dfs.client.block.write.replace-datanode-on-failure.best-effort", "true"),
    // Our own deadline is round every operation: within it, look for the active NameNode briskly.
    ("dfs.client.failover.max.attempts", "10"),
    ("dfs.client.failover.sleep.base.millis", "200"),
    ("dfs.client.failover.sleep.max.millis", "2000"),
];

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
    /// One client for each NameNode or name service.
    clients: Arc<Mutex<HashMap<String, Client>>>,
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
            hadoop: folder(HADOOP_CONF_DIR),
            kerberos: folder(KERBEROS_DIR),
            user: None,
            s3: Arc::default(),
            patience: Patience::default(),
            clients: Arc::default(),
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

    /// As this user in HDFS; with Kerberos, on behalf of this user. `None`: as the environment says.
    #[must_use]
    pub fn with_user(self, user: Option<&str>) -> Self {
        Self { user: user.map(str::to_owned), clients: Arc::default(), ..self }
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

    /// The client of `authority`, `host:port` or a name service; none: `fs.defaultFS`.
    pub(crate) fn hdfs_client(&self, uri: &str, authority: &str) -> Result<Client> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(authority) {
            return Ok(client.clone());
        }
        let client = self.build_hdfs_client(uri, authority)?;
        clients.insert(authority.to_owned(), client.clone());
        Ok(client)
    }

    fn build_hdfs_client(&self, uri: &str, authority: &str) -> Result<Client> {
        let files = self.hadoop.as_deref().map(read_configuration).transpose()?.unwrap_or_default();
        if authority.is_empty() && !files.contains("fs.defaultFS") {
            let reason = "it names no NameNode, and no core-site.xml sets fs.defaultFS; write hdfs://namenode:8020/path or set HADOOP_CONF_DIR";
            return OpenStoreSnafu { uri, reason }.fail();
        }
        let defaults = HADOOP_DEFAULTS.into_iter().filter(|(key, _)| !files.contains(key));
        let mut builder = ClientBuilder::new()
            .with_url(format!("hdfs://{authority}"))
            .with_config(defaults)
            .with_io_runtime(io_runtime::handle());
        if let Some(folder) = &self.hadoop {
            builder = builder.with_config_dir(folder.to_string_lossy());
        }
        if let Some(user) = &self.user {
            builder = builder.with_user(user);
        }
        if let Some(folder) = &self.kerberos {
            builder = with_kerberos(builder, uri, folder)?;
        }
        builder.build().context(ConfigureHdfsSnafu { uri })
    }
}

/// A variable that is set to nothing counts as unset.
fn folder(variable: &str) -> Option<PathBuf> {
    env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// The text of both files, to see which keys they name.
fn read_configuration(folder: &Path) -> Result<String> {
    let mut text = String::new();
    for name in ["core-site.xml", "hdfs-site.xml"] {
        let path = folder.join(name);
        match fs::read_to_string(&path) {
            Ok(content) => text.push_str(&content),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                return Err(error).context(ReadConfigurationSnafu { path: path.display().to_string() });
            }
        }
    }
    Ok(text)
}

/// `principal` and `keytab`, or `ccache` with an optional `principal`.
fn with_kerberos(builder: ClientBuilder, uri: &str, folder: &Path) -> Result<ClientBuilder> {
    let file = |name: &str| Some(folder.join(name)).filter(|path| path.exists());
    let principal = match file("principal") {
        Some(path) => {
            let text = fs::read_to_string(&path)
                .context(ReadConfigurationSnafu { path: path.display().to_string() })?;
            Some(text.trim().to_owned())
        }
        None => None,
    };
    let Some(principal) = principal.filter(|principal| !principal.is_empty()) else {
        let reason = format!("{} has no file principal with the Kerberos principal", folder.display());
        return OpenStoreSnafu { uri, reason }.fail();
    };
    let builder = builder.with_kerberos_principal(principal);
    match (file("keytab"), file("ccache")) {
        (Some(keytab), _) => Ok(builder.with_kerberos_keytab(keytab.to_string_lossy())),
        (None, Some(cache)) => Ok(builder.with_kerberos_cache(format!("FILE:{}", cache.display()))),
        (None, None) => {
            let reason =
                format!("{} has neither a keytab nor a ccache (a Kerberos ticket cache)", folder.display());
            OpenStoreSnafu { uri, reason }.fail()
        }
    }
}
