//! How a client of HDFS is made: Hadoop's configuration, our own defaults below it, and whoever it acts as.

use std::{
    fs,
    path::{Path, PathBuf},
};

use hdfs_native::{Client, ClientBuilder};
use snafu::ResultExt;

use crate::{
    Result,
    error::{ConfigureHdfsSnafu, OpenStoreSnafu, ReadConfigurationSnafu},
    io_runtime,
    kerberos::Credentials,
};

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
const DEFAULT_FS: &str = "fs.defaultFS";

/// Makes clients of one NameNode or name service.
#[derive(Clone, Debug)]
pub(crate) struct Recipe {
    /// As the user wrote it, for errors.
    pub(crate) uri: String,
    /// `host:port` or a name service; none: `fs.defaultFS`.
    pub(crate) authority: String,
    /// Folder with `core-site.xml` and `hdfs-site.xml`.
    pub(crate) hadoop: Option<PathBuf>,
    /// Folder with `principal` and `keytab`, or `ccache`.
    pub(crate) kerberos: Option<PathBuf>,
    /// As whom, or with Kerberos on whose behalf.
    pub(crate) user: Option<String>,
}

impl Recipe {
    /// A client that has asked nothing yet. `turn` says which of a name service's NameNodes it asks first.
    pub(crate) fn client(&self, turn: usize) -> Result<Client> {
        let Self { uri, authority, hadoop, kerberos, user } = self;
        let files = hadoop.as_deref().map(read_configuration).transpose()?.unwrap_or_default();
        if authority.is_empty() && value(&files, DEFAULT_FS).is_none() {
            let reason = "it names no NameNode, and no core-site.xml sets fs.defaultFS; write hdfs://namenode:8020/path or set HADOOP_CONF_DIR";
            return OpenStoreSnafu { uri, reason }.fail();
        }
        let defaults = HADOOP_DEFAULTS.into_iter().filter(|(key, _)| value(&files, key).is_none());
        let mut config: Vec<_> = defaults.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        config.extend(namenodes(&files, authority, turn));
        let mut builder = ClientBuilder::new()
            .with_url(format!("hdfs://{authority}"))
            .with_config(config)
            .with_io_runtime(io_runtime::handle());
        if let Some(folder) = hadoop {
            builder = builder.with_config_dir(folder.to_string_lossy());
        }
        let credentials = kerberos.as_ref().map(|folder| Credentials::read(folder, uri)).transpose()?;
        // To act on one's own behalf needs no permission to act on that of others.
        let own_name = credentials.as_ref().map(Credentials::short_name);
        if let Some(user) = user.as_ref().filter(|user| own_name != Some(user.as_str())) {
            builder = builder.with_user(user);
        }
        if let Some(credentials) = credentials {
            builder = credentials.into_builder(builder);
        }
        builder.build().context(ConfigureHdfsSnafu { uri })
    }
}

/// The text of both files, without comments.
fn read_configuration(folder: &Path) -> Result<String> {
    let mut text = String::new();
    for name in ["core-site.xml", "hdfs-site.xml"] {
        let path = folder.join(name);
        match fs::read_to_string(&path) {
            Ok(content) => text.push_str(&without_comments(&content)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                return Err(error).context(ReadConfigurationSnafu { path: path.display().to_string() });
            }
        }
    }
    Ok(text)
}

fn without_comments(xml: &str) -> String {
    let mut pieces = xml.split("<!--");
    let mut text = pieces.next().unwrap_or_default().to_owned();
    pieces.filter_map(|piece| piece.split_once("-->")).for_each(|(_, after)| text.push_str(after));
    text
}

/// Of the last property of this name, as the client reads it too.
fn value<'a>(files: &'a str, key: &str) -> Option<&'a str> {
    let name = format!("<name>{key}</name>");
    let property = files.rsplit("<property>").find(|property| property.contains(&name))?;
    let (_, after) = property.split_once("<value>")?;
    Some(after.split_once("</value>")?.0.trim())
}

/// The NameNodes of a name service in the order of this turn, as a property that the client splits at commas.
fn namenodes(files: &str, authority: &str, turn: usize) -> Option<(String, String)> {
    let service = match authority {
        "" => value(files, DEFAULT_FS)?.strip_prefix("hdfs://")?.split('/').next()?,
        named => named,
    };
    let key = format!("dfs.ha.namenodes.{service}");
    // The client takes blanks for a part of the names.
    let mut names: Vec<_> = value(files, &key)?.split(',').map(str::trim).collect();
    let first = turn % names.len();
    names.rotate_left(first);
    Some((key, names.join(",")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILES: &str = "
        <property><name>fs.defaultFS</name><value>hdfs://ours/</value></property>
        <property>
          <name>dfs.ha.namenodes.ours</name>
          <value> nn1, nn2,nn3 </value>
        </property>";

    /// Written with blanks, as Hadoop allows, the second NameNode would not be found.
    #[test]
    fn each_turn_begins_with_another_namenode_and_blanks_are_no_part_of_a_name() {
        for (turn, order) in [(0, "nn1,nn2,nn3"), (1, "nn2,nn3,nn1"), (5, "nn3,nn1,nn2")] {
            for authority in ["ours", ""] {
                let (key, value) = namenodes(FILES, authority, turn).unwrap();
                assert_eq!((key.as_str(), value.as_str()), ("dfs.ha.namenodes.ours", order));
            }
        }
        assert!(namenodes(FILES, "namenode:8020", 1).is_none());
        assert!(namenodes("", "", 1).is_none());
    }

    #[test]
    fn a_commented_property_does_not_count_and_of_several_the_last_does() {
        let files = without_comments(
            "<property><name>a</name><value>1</value></property><property><value>2</value><name>a</name></property>
             <!-- <property><name>a</name><value>3</value></property> --><property><name>b</name></property>",
        );
        assert_eq!(value(&files, "a"), Some("2"));
        assert_eq!(value(&files, "b"), None);
    }
}
