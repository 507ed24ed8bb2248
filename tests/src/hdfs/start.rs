//! Bringing an HDFS up, daemon by daemon.

use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};

use super::configuration::Configuration;
use super::{Daemon, Hdfs, Options, jars, until_it_logs};

const KDC: &str = "org.apache.hadoop.minikdc.MiniKdc";
const JOURNALNODE: &str = "org.apache.hadoop.hdfs.qjournal.server.JournalNode";
const NAMENODE: &str = "org.apache.hadoop.hdfs.server.namenode.NameNode";
const DATANODE: &str = "org.apache.hadoop.hdfs.server.datanode.DataNode";

impl Hdfs {
    /// Formats and starts one in `folder`; returns when it can be written to.
    pub(super) fn start_in(folder: &Path, options: &Options, dies_with_us: bool) -> Result<Self> {
        ensure!(options.datanodes >= 1, "an HDFS needs a DataNode");
        let configuration = Configuration::write(folder, &jars()?, options)?;
        let start = |daemon: &str, class: &str, arguments: Vec<String>| {
            Daemon::start(&configuration, daemon, class, arguments, dies_with_us)
        };
        let mut others = Vec::new();
        if let Some(kerberos) = &configuration.kerberos {
            let kdc = start("kdc", KDC, kerberos.kdc())?;
            until_it_logs(&kdc, "Standalone MiniKdc Running")?;
            others.push(kdc);
        }
        for index in 0..configuration.journals.len() {
            let arguments = configuration.journal(index);
            others.push(start(&format!("journal-{}", index + 1), JOURNALNODE, arguments)?);
        }
        format(&configuration)?;
        let namenodes = (0..configuration.namenodes.len())
            .map(|index| start(&format!("namenode-{}", index + 1), NAMENODE, configuration.namenode(index)))
            .collect::<Result<Vec<_>>>()?;
        let datanodes = (1..=options.datanodes)
            .map(|number| {
                let arguments = configuration.datanode(number)?;
                start(&format!("datanode-{number}"), DATANODE, arguments)
            })
            .collect::<Result<Vec<_>>>()?;
        let mut hdfs =
            Self { configuration, namenodes, active: 0, datanodes, _others: others, _folder: None };
        if options.high_availability {
            hdfs.make_active(0)?;
        }
        hdfs.wait_ready()?;
        Ok(hdfs)
    }
}

/// Formats the NameNodes, and what JournalNodes there are; two NameNodes begin with the same names.
fn format(configuration: &Configuration) -> Result<()> {
    let mut command = configuration.java(NAMENODE);
    let formatted =
        command.args(configuration.namenode(0)).args(["-format", "-force", "-nonInteractive"]).output()?;
    ensure!(formatted.status.success(), "formatting failed: {}", String::from_utf8_lossy(&formatted.stderr));
    for index in 1..configuration.namenodes.len() {
        let (from, to) = (configuration.namenode_folder(0), configuration.namenode_folder(index));
        fs::create_dir_all(to.join("current"))?;
        for entry in fs::read_dir(from.join("current"))? {
            let entry = entry?;
            fs::copy(entry.path(), to.join("current").join(entry.file_name()))?;
        }
    }
    Ok(())
}
