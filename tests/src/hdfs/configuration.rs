//! Hadoop's configuration for one HDFS, and how its Java programs are called.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::{Network, Options, high_availability, kerberos::Kerberos};

const LOG4J: &str = "log4j.rootLogger=INFO,stderr
log4j.appender.stderr=org.apache.log4j.ConsoleAppender
log4j.appender.stderr.target=System.err
log4j.appender.stderr.layout=org.apache.log4j.PatternLayout
log4j.appender.stderr.layout.ConversionPattern=%d{ISO8601} %p %c{2}: %m%n
";

pub(super) struct Configuration {
    root: PathBuf,
    jars: PathBuf,
    /// One, or those of a name service.
    pub(super) namenodes: Vec<Addresses>,
    /// Of a name service.
    pub(super) journals: Vec<Addresses>,
    pub(super) kerberos: Option<Kerberos>,
    pub(super) network: Network,
}

/// Where a daemon answers.
pub(super) struct Addresses {
    pub(super) rpc: SocketAddr,
    pub(super) http: SocketAddr,
}

impl Addresses {
    fn free(network: &Network) -> Result<Self> {
        Ok(Self { rpc: free_address(network)?, http: free_address(network)? })
    }
}

impl Configuration {
    /// Writes the files below `root` for ports that are free here.
    pub(super) fn write(root: &Path, jars: &Path, options: &Options) -> Result<Self> {
        let network = &options.network;
        let addresses = |count| (0..count).map(|_| Addresses::free(network)).collect::<Result<Vec<_>>>();
        let (namenodes, journals) = match options.high_availability {
            true => (addresses(2)?, addresses(high_availability::JOURNALS)?),
            false => (addresses(1)?, Vec::new()),
        };
        let kerberos = options.kerberos.then(|| Kerberos::new(root));
        let this = Self {
            root: root.into(),
            jars: jars.into(),
            namenodes,
            journals,
            kerberos,
            network: network.clone(),
        };
        if let Some(kerberos) = &this.kerberos {
            kerberos.write(free_address(network)?)?;
        }
        // Both daemons die without these folders on the class path; the jars hold no web applications.
        for application in ["hdfs", "datanode", "journal"] {
            fs::create_dir_all(root.join("web/webapps").join(application))?;
        }
        fs::create_dir_all(this.logs())?;
        fs::create_dir_all(this.conf_dir())?;
        fs::write(this.conf_dir().join("log4j.properties"), LOG4J)?;
        fs::write(this.hosts(), hosts(network)?)?;
        let mut core = owned([
            ("fs.defaultFS", this.uri()),
            ("hadoop.tmp.dir", root.join("tmp").display().to_string()),
            ("ipc.client.connect.max.retries", "100".into()),
            ("ipc.client.connect.retry.interval", "200".into()),
        ]);
        let mut hdfs = owned([
            ("dfs.namenode.edits.noeditlogchannelflush", "true".into()),
            ("dfs.replication", options.replication.to_string()),
            ("dfs.permissions.enabled", "false".into()),
            ("dfs.namenode.fs-limits.min-block-size", "65536".into()),
            ("dfs.namenode.safemode.extension", "0".into()),
            ("dfs.namenode.datanode.registration.ip-hostname-check", "false".into()),
            ("dfs.heartbeat.interval", "1".into()),
            // With the interval above a DataNode counts as dead after 12 s.
            ("dfs.namenode.heartbeat.recheck-interval", "1000".into()),
            ("dfs.namenode.stale.datanode.interval", "3000".into()),
            ("dfs.namenode.avoid.read.stale.datanode", "true".into()),
            ("dfs.namenode.avoid.write.stale.datanode", "true".into()),
            ("dfs.namenode.redundancy.interval.seconds", "1".into()),
            ("dfs.block.scanner.volume.bytes.per.second", "0".into()),
            ("dfs.client.block.write.replace-datanode-on-failure.best-effort", "true".into()),
        ]);
        let names = |index| format!("file://{}", this.namenode_folder(index).display());
        hdfs.extend(match &this.namenodes[..] {
            [Addresses { rpc, http }] => owned([
                ("dfs.namenode.rpc-address", rpc.to_string()),
                ("dfs.namenode.http-address", http.to_string()),
                ("dfs.namenode.name.dir", names(0)),
            ]),
            several => high_availability::properties(several, &this.journals, names),
        });
        if let Some(kerberos) = &this.kerberos {
            core.extend(kerberos.core());
            hdfs.extend(kerberos.hdfs());
        }
        fs::write(this.conf_dir().join("core-site.xml"), xml(&core))?;
        fs::write(this.conf_dir().join("hdfs-site.xml"), xml(&hdfs))?;
        Ok(this)
    }

    /// One written earlier, for one NameNode and without Kerberos.
    pub(super) fn read(root: &Path, jars: &Path) -> Result<Self> {
        let text = fs::read_to_string(root.join("addresses"))
            .with_context(|| format!("no HDFS was started in {}", root.display()))?;
        let mut addresses = text.lines().map(str::parse);
        let mut next = || Ok::<_, anyhow::Error>(addresses.next().context("an address is missing")??);
        Ok(Self {
            root: root.into(),
            jars: jars.into(),
            namenodes: vec![Addresses { rpc: next()?, http: next()? }],
            journals: Vec::new(),
            kerberos: None,
            network: Network::default(),
        })
    }

    /// Lets [`Configuration::read`] find this one.
    pub(super) fn remember(&self) -> Result<()> {
        let Addresses { rpc, http } = &self.namenodes[0];
        Ok(fs::write(self.root.join("addresses"), format!("{rpc}\n{http}\n"))?)
    }

    /// Arguments of a NameNode.
    pub(super) fn namenode(&self, index: usize) -> Vec<String> {
        if self.namenodes.len() == 1 { Vec::new() } else { high_availability::namenode(index) }
    }

    /// Arguments of a JournalNode.
    pub(super) fn journal(&self, index: usize) -> Vec<String> {
        let folder = self.root.join(format!("journal-{}", index + 1));
        high_availability::journal(&self.journals[index], &folder.display().to_string())
    }

    /// Arguments of a DataNode, with free ports, which it keeps when it is restarted.
    pub(super) fn datanode(&self, number: usize) -> Result<Vec<String>> {
        let mut arguments = Vec::new();
        let data = format!("file://{}", self.datanode_folder(number).display());
        for (key, value) in [
            ("data.dir", data),
            ("hostname", self.network.host.to_string()),
            ("address", free_address(&self.network)?.to_string()),
            ("http.address", free_address(&self.network)?.to_string()),
            ("ipc.address", free_address(&self.network)?.to_string()),
        ] {
            arguments.extend(["-D".into(), format!("dfs.datanode.{key}={value}")]);
        }
        Ok(arguments)
    }

    /// A Java program of Hadoop with this configuration.
    pub(super) fn java(&self, class: &str) -> Command {
        let mut command = match self.network.enter.split_first() {
            Some((program, arguments)) => {
                let mut command = Command::new(program);
                command.args(arguments).arg("java");
                command
            }
            None => Command::new("java"),
        };
        command.args(["-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData"]);
        // Instead of a name server, which a network of its own has none of: asking for one takes seconds each time.
        command.arg(format!("-Djdk.net.hosts.file={}", self.hosts().display()));
        if let Some(kerberos) = &self.kerberos {
            command.arg(format!("-Djava.security.krb5.conf={}", kerberos.realms().display()));
        }
        command.args(["-Djava.net.preferIPv4Stack=true", "-cp"]);
        let web = self.root.join("web");
        command.arg(format!("{}:{}:{}/*", self.conf_dir().display(), web.display(), self.jars.display()));
        command.arg(class);
        command
    }

    pub(super) fn uri(&self) -> String {
        match &self.namenodes[..] {
            [namenode] => format!("hdfs://{}", namenode.rpc),
            _ => format!("hdfs://{}", high_availability::SERVICE),
        }
    }

    pub(super) fn conf_dir(&self) -> PathBuf {
        self.root.join("conf")
    }

    /// Where a NameNode keeps its names.
    pub(super) fn namenode_folder(&self, index: usize) -> PathBuf {
        self.root.join(format!("namenode-{}", index + 1))
    }

    /// Where a DataNode keeps its blocks.
    pub(super) fn datanode_folder(&self, number: usize) -> PathBuf {
        self.root.join(format!("datanode-{number}"))
    }

    fn hosts(&self) -> PathBuf {
        self.root.join("hosts")
    }

    pub(super) fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }
}

fn owned<const N: usize>(properties: [(&str, String); N]) -> Vec<(String, String)> {
    properties.map(|(name, value)| (name.to_owned(), value)).into()
}

fn xml(properties: &[(String, String)]) -> String {
    let mut text = String::from("<?xml version=\"1.0\"?>\n<configuration>\n");
    for (name, value) in properties {
        let value = value.replace('&', "&amp;").replace('<', "&lt;");
        text += &format!("  <property><name>{name}</name><value>{value}</value></property>\n");
    }
    text + "</configuration>\n"
}

/// Names and addresses, as in `/etc/hosts`.
fn hosts(network: &Network) -> Result<String> {
    let machine = fs::read_to_string("/proc/sys/kernel/hostname").context("the machine has no name")?;
    Ok(format!("127.0.0.1 localhost {}\n{} hdfs\n", machine.trim(), network.host))
}

fn free_address(network: &Network) -> Result<SocketAddr> {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port is free")?.local_addr()?.port();
    Ok((network.host, port).into())
}
