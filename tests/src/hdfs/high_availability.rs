//! A name service: two NameNodes, of which one is active, and three JournalNodes that hold what both must know. Nobody but the
//! test says which is active; without ZooKeeper HDFS does not choose by itself.

use std::net::SocketAddr;

use super::configuration::Addresses;

/// What URIs name instead of a NameNode.
pub(super) const SERVICE: &str = "lockstep";
/// One may die.
pub(super) const JOURNALS: usize = 3;

/// What tells the NameNodes of a name service apart.
pub(super) fn id(namenode: usize) -> String {
    format!("nn{}", namenode + 1)
}

/// Of `hdfs-site.xml`. `folder`: where a NameNode keeps its names, as a URI.
pub(super) fn properties(
    namenodes: &[Addresses],
    journals: &[Addresses],
    folder: impl Fn(usize) -> String,
) -> Vec<(String, String)> {
    let ids: Vec<_> = (0..namenodes.len()).map(id).collect();
    let journals: Vec<_> = journals.iter().map(|journal| journal.rpc.to_string()).collect();
    let mut properties = vec![
        ("dfs.nameservices".into(), SERVICE.into()),
        // Written with blanks, as people do.
        (format!("dfs.ha.namenodes.{SERVICE}"), ids.join(", ")),
        ("dfs.namenode.shared.edits.dir".into(), format!("qjournal://{}/{SERVICE}", journals.join(";"))),
        (
            format!("dfs.client.failover.proxy.provider.{SERVICE}"),
            "org.apache.hadoop.hdfs.server.namenode.ha.ConfiguredFailoverProxyProvider".into(),
        ),
        // The JournalNodes take nothing from one that is not active any more.
        ("dfs.ha.fencing.methods".into(), "shell(/bin/true)".into()),
        ("dfs.ha.tail-edits.period".into(), "1".into()),
        ("dfs.ha.log-roll.period".into(), "5".into()),
    ];
    for (index, Addresses { rpc, http }) in namenodes.iter().enumerate() {
        let id = id(index);
        properties.extend([
            (format!("dfs.namenode.rpc-address.{SERVICE}.{id}"), rpc.to_string()),
            (format!("dfs.namenode.http-address.{SERVICE}.{id}"), http.to_string()),
            (format!("dfs.namenode.name.dir.{SERVICE}.{id}"), folder(index)),
        ]);
    }
    properties
}

/// Arguments of a NameNode, which cannot tell by its address which of the two it is.
pub(super) fn namenode(index: usize) -> Vec<String> {
    vec!["-D".into(), format!("dfs.ha.namenode.id={}", id(index))]
}

/// Arguments of a JournalNode that keeps its files in `folder`.
pub(super) fn journal(Addresses { rpc, http }: &Addresses, folder: &str) -> Vec<String> {
    let address = |key: &str, address: &SocketAddr| format!("dfs.journalnode.{key}={address}");
    let edits = format!("dfs.journalnode.edits.dir={folder}");
    let properties = [address("rpc-address", rpc), address("http-address", http), edits];
    properties.into_iter().flat_map(|property| ["-D".into(), property]).collect()
}
