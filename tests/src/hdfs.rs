//! A real HDFS on loopback: NameNode, DataNodes and what else it is made of, each a JVM of its own that can be killed or
//! frozen alone.

pub mod by_hand;
mod configuration;
mod daemon;
mod high_availability;
mod kerberos;
mod start;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::machine;
use crate::wait::eventually;
use configuration::Configuration;
pub use daemon::Daemon;
use kerberos::Kerberos;

const READY: Duration = Duration::from_secs(180);

/// What an HDFS is made of.
#[derive(Clone, Debug)]
pub struct Options {
    /// Number of DataNodes, at least 1.
    pub datanodes: usize,
    /// Replicas of each block.
    pub replication: usize,
    /// A name service of two NameNodes instead of one NameNode.
    pub high_availability: bool,
    /// Only who has a Kerberos ticket is let in.
    pub kerberos: bool,
    /// Where its daemons listen.
    pub network: Network,
}

/// Where daemons listen, and how programs get there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// The address of all daemons.
    pub host: Ipv4Addr,
    /// Words before a command that bring it into the network; none for our own.
    pub enter: Vec<OsString>,
}

impl Default for Network {
    fn default() -> Self {
        Self { host: Ipv4Addr::LOCALHOST, enter: Vec::new() }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            datanodes: 3,
            replication: 2,
            high_availability: false,
            kerberos: false,
            network: Network::default(),
        }
    }
}

/// A running HDFS. Dropping it kills its daemons; they also die with the thread that started them.
pub struct Hdfs {
    configuration: Configuration,
    namenodes: Vec<Daemon>,
    /// Which of them is the active one.
    active: usize,
    datanodes: Vec<Daemon>,
    /// KDC and JournalNodes.
    _others: Vec<Daemon>,
    /// Last, as fields are dropped in order: the daemons write into it.
    _folder: Option<tempfile::TempDir>,
}

impl Hdfs {
    /// Formats and starts an HDFS in a temporary folder; returns when all DataNodes are live and it can be written to.
    pub fn start(options: &Options) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut hdfs = Self::start_in(folder.path(), options, true)?;
        hdfs._folder = Some(folder);
        Ok(hdfs)
    }

    /// Waits until all DataNodes are live and the NameNode is out of safe mode. The NameNode counts a killed DataNode as
    /// live for another 12 s.
    pub fn wait_ready(&self) -> Result<()> {
        let wanted = self.datanodes.len() as u64;
        eventually("HDFS to be ready", READY, || {
            if !self.configuration.network.enter.is_empty() {
                // From here its HTTP cannot be reached.
                let report = self.shell(&["dfsadmin", "-report", "-live"]).unwrap_or_default();
                let ready =
                    report.contains(&format!("Live datanodes ({wanted})")) && !report.contains("Safe mode");
                return Ok(ready.then_some(()));
            }
            let Ok(state) = self.namenode_state() else { return Ok(None) };
            let live = state["NumLiveDataNodes"].as_u64().unwrap_or(0);
            Ok((live >= wanted && state["FSState"] == "Operational").then_some(()))
        })
        .with_context(|| format!("see the logs in {}", self.configuration.logs().display()))
    }

    /// The NameNode's bean `FSNamesystemState`.
    pub fn namenode_state(&self) -> Result<Value> {
        let path = "/jmx?qry=Hadoop:service=NameNode,name=FSNamesystemState";
        let address = self.configuration.namenodes[self.active].http;
        let beans: Value = serde_json::from_slice(&http_get(address, path)?)?;
        Ok(beans["beans"][0].clone())
    }

    /// `hdfs://host:port`, without a path.
    pub fn uri(&self) -> String {
        self.configuration.uri()
    }

    /// Value for `HADOOP_CONF_DIR`.
    pub fn conf_dir(&self) -> PathBuf {
        self.configuration.conf_dir()
    }

    /// Hadoop's own shell: `["dfs", "-ls", "/"]`, `["dfsadmin", "-safemode", "enter"]`, `["fsck", "/"]`.
    pub fn shell<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Result<String> {
        let words: Vec<_> = arguments.iter().map(|word| word.as_ref().to_string_lossy()).collect();
        let output = shell(&self.configuration, arguments)?.output()?;
        ensure!(
            output.status.success(),
            "hdfs {} failed: {}",
            words.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(text(&output))
    }

    /// Names in a folder, by WebHDFS; none if there is no such folder.
    pub fn names(&self, path: &str) -> Result<Vec<String>> {
        let answer = http_get(
            self.configuration.namenodes[self.active].http,
            &format!("/webhdfs/v1{path}?op=LISTSTATUS"),
        )?;
        let answer: Value = serde_json::from_slice(&answer)?;
        let statuses = answer["FileStatuses"]["FileStatus"].as_array();
        let name = |status: &Value| status["pathSuffix"].as_str().map(str::to_owned);
        Ok(statuses.into_iter().flatten().filter_map(name).collect())
    }

    /// Flips bits all over every block that DataNode `index` has on disk; the number of blocks.
    pub fn flip_bits(&self, index: usize) -> Result<usize> {
        let mut folders = vec![self.configuration.datanode_folder(index + 1)];
        let mut blocks = 0;
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder)? {
                let path = entry?.path();
                let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
                if path.is_dir() {
                    folders.push(path);
                } else if name.starts_with("blk_") && !name.ends_with(".meta") {
                    let mut bytes = fs::read(&path)?;
                    let middle = bytes.len() / 2;
                    // Every checksum covers 512 bytes: whatever range is read meets one of these.
                    bytes.iter_mut().step_by(4096).for_each(|byte| *byte ^= 1);
                    if let Some(byte) = bytes.get_mut(middle) {
                        *byte ^= 2;
                    }
                    fs::write(&path, bytes)?;
                    blocks += 1;
                }
            }
        }
        Ok(blocks)
    }

    /// Enters or leaves safe mode, in which nothing can be written.
    pub fn safe_mode(&self, on: bool) -> Result<()> {
        self.shell(&["dfsadmin", "-safemode", if on { "enter" } else { "leave" }]).map(drop)
    }

    /// Limits the space below a folder, replicas included, in bytes; without a limit clears the quota.
    pub fn space_quota(&self, path: &str, bytes: Option<u64>) -> Result<()> {
        match bytes {
            Some(bytes) => self.shell(&["dfsadmin", "-setSpaceQuota", &bytes.to_string(), path]),
            None => self.shell(&["dfsadmin", "-clrSpaceQuota", path]),
        }
        .map(drop)
    }

    /// The NameNode; of two the active one.
    pub fn namenode(&mut self) -> &mut Daemon {
        &mut self.namenodes[self.active]
    }

    /// Makes the other NameNode the active one, whatever has become of the first.
    pub fn fail_over(&mut self) -> Result<()> {
        self.make_active((self.active + 1) % self.namenodes.len())
    }

    fn make_active(&mut self, index: usize) -> Result<()> {
        until_it_logs(&self.namenodes[index], "NameNode RPC up at")?;
        self.shell(&["haadmin", "-transitionToActive", "--forceactive", &high_availability::id(index)])?;
        self.active = index;
        Ok(())
    }

    /// Value for `LOCKSTEP_KERBEROS_DIR`: a folder with principal, keytab and krb5.conf.
    pub fn kerberos_dir(&self) -> Option<PathBuf> {
        self.configuration.kerberos.as_ref().map(Kerberos::folder)
    }

    /// DataNode `index`, from 0.
    pub fn datanode(&mut self, index: usize) -> &mut Daemon {
        &mut self.datanodes[index]
    }
}

fn until_it_logs(daemon: &Daemon, words: &str) -> Result<()> {
    eventually(&format!("{words:?} in a daemon's log"), READY, || {
        Ok(daemon.log()?.contains(words).then_some(()))
    })
    .with_context(|| daemon.log().unwrap_or_default())
}

/// Why HDFS cannot run on this machine, if it cannot.
pub fn lacks() -> Option<String> {
    jars().err().map(|error| format!("{error:#}"))
}

fn jars() -> Result<PathBuf> {
    let folder = match std::env::var_os("LOCKSTEP_HADOOP") {
        Some(folder) if !folder.is_empty() => PathBuf::from(folder),
        _ => anyhow::bail!("LOCKSTEP_HADOOP is not set (scripts/hadoop.sh prints its value)"),
    };
    ensure!(folder.is_dir(), "LOCKSTEP_HADOOP={} is not a folder", folder.display());
    Ok(folder)
}

/// Hadoop's shell as a command: the words that `hdfs` would take.
fn shell<S: AsRef<OsStr>>(configuration: &Configuration, arguments: &[S]) -> Result<Command> {
    let (tool, rest) = arguments.split_first().context("no command; for example: dfs -ls /")?;
    let class = match tool.as_ref().to_str() {
        Some("dfs") => "org.apache.hadoop.fs.FsShell",
        Some("dfsadmin") => "org.apache.hadoop.hdfs.tools.DFSAdmin",
        Some("haadmin") => "org.apache.hadoop.hdfs.tools.DFSHAAdmin",
        Some("fsck") => "org.apache.hadoop.hdfs.tools.DFSck",
        _ => anyhow::bail!("{:?} is neither dfs, dfsadmin, haadmin nor fsck", tool.as_ref()),
    };
    let mut command = configuration.java(class);
    command.args(rest);
    if let Some(kerberos) = &configuration.kerberos {
        command.env("KRB5PRINCIPAL", kerberos.principal()).env("KRB5KEYTAB", kerberos.keytab());
    }
    Ok(command)
}

fn http_get(address: SocketAddr, path: &str) -> Result<Vec<u8>> {
    let timeout = Duration::from_secs(10);
    let mut stream = TcpStream::connect_timeout(&address, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").context("no HTTP answer")?;
    Ok(answer.split_off(end + 4))
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The harness's own folder for an HDFS that was started by hand.
fn by_hand_folder() -> Result<PathBuf> {
    Ok(machine::cache()?.join("hdfs"))
}
