//! An HDFS that lets in only who has a Kerberos ticket, and the KDC that gives them out: Hadoop's MiniKdc.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::Result;

const REALM: &str = "EXAMPLE.COM";
/// By the machine's name in the daemons' hosts file: a daemon talks from the address of its principal's host, and a DataNode
/// is looked for where it talked from.
const DAEMONS: &str = "hdfs/hdfs";
const WEB: &str = "HTTP/localhost";
/// Of jobs, and of Hadoop's shell.
const USER: &str = "lockstep";

/// Files of clients, daemons and the KDC.
pub(super) struct Kerberos {
    root: PathBuf,
}

impl Kerberos {
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.into() }
    }

    /// Writes what the KDC and its clients are told, for a KDC that listens there.
    pub(super) fn write(&self, kdc: SocketAddr) -> Result<()> {
        fs::create_dir_all(self.folder())?;
        fs::create_dir_all(self.kdc_folder())?;
        fs::write(self.folder().join("principal"), format!("{}\n", self.principal()))?;
        let (host, port) = (kdc.ip(), kdc.port());
        // Names are taken as they are, without a pod's domain: no name server knows this realm.
        let realms = format!(
            "[libdefaults]
  default_realm = {REALM}
  udp_preference_limit = 1
  dns_lookup_kdc = false
  dns_canonicalize_hostname = false
  rdns = false
  qualify_shortname = \"\"
[realms]
  {REALM} = {{
    kdc = {host}:{port}
  }}
[domain_realm]
  localhost = {REALM}
  hdfs = {REALM}
"
        );
        fs::write(self.realms(), realms)?;
        let (name, domain) = REALM.split_once('.').unwrap_or((REALM, ""));
        let properties = format!(
            "org.name={name}\norg.domain={domain}\nkdc.bind.address={host}\nkdc.port={port}\ninstance=DefaultKrbServer
max.ticket.lifetime=86400000\nmax.renewable.lifetime=604800000\ntransport=TCP\ndebug=false\n"
        );
        Ok(fs::write(self.kdc_folder().join("properties"), properties)?)
    }

    /// Arguments of the KDC, which makes the principals and their keytab.
    pub(super) fn kdc(&self) -> Vec<String> {
        let folder = self.kdc_folder();
        let files = [folder.clone(), folder.join("properties"), self.keytab()];
        let files = files.into_iter().map(|path| path.display().to_string());
        files.chain([USER, DAEMONS, WEB].map(Into::into)).collect()
    }

    /// Folder with principal, keytab and krb5.conf, as users have it for Lockstep.
    pub(super) fn folder(&self) -> PathBuf {
        self.root.join("kerberos")
    }

    pub(super) fn realms(&self) -> PathBuf {
        self.folder().join("krb5.conf")
    }

    pub(super) fn keytab(&self) -> PathBuf {
        self.folder().join("keytab")
    }

    pub(super) fn principal(&self) -> String {
        format!("{USER}@{REALM}")
    }

    fn kdc_folder(&self) -> PathBuf {
        self.root.join("kdc")
    }

    /// Of `core-site.xml`.
    pub(super) fn core(&self) -> Vec<(String, String)> {
        vec![("hadoop.security.authentication".into(), "kerberos".into())]
    }

    /// Of `hdfs-site.xml`.
    pub(super) fn hdfs(&self) -> Vec<(String, String)> {
        let keytab = self.keytab().display().to_string();
        let (daemons, web) = (format!("{DAEMONS}@{REALM}"), format!("{WEB}@{REALM}"));
        [
            ("dfs.block.access.token.enable", "true"),
            ("dfs.data.transfer.protection", "authentication"),
            // Ports below 1024 or TLS would have to prove who a DataNode is.
            ("ignore.secure.ports.for.testing", "true"),
            ("dfs.namenode.kerberos.principal", &daemons),
            ("dfs.namenode.keytab.file", &keytab),
            ("dfs.namenode.kerberos.internal.spnego.principal", &web),
            ("dfs.datanode.kerberos.principal", &daemons),
            ("dfs.datanode.keytab.file", &keytab),
            ("dfs.web.authentication.kerberos.principal", &web),
            ("dfs.web.authentication.kerberos.keytab", &keytab),
        ]
        .map(|(name, value)| (name.into(), value.into()))
        .into()
    }
}
