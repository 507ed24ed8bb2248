//! The cluster's own cgroups, one in every hierarchy of this machine (v1: one a controller set, v2: one in all).

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::wait::eventually;

/// Makes the cgroups `name` and returns their folders, noting each in `record` before it is made.
pub(super) fn create(name: &str, record: &Path) -> Result<Vec<PathBuf>> {
    let memberships = fs::read_to_string("/proc/self/cgroup").context("failed to read our cgroups")?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").context("failed to read our mounts")?;
    let folders: Vec<PathBuf> =
        parents(&memberships, &mounts).into_iter().map(|parent| parent.join(name)).collect();
    if folders.is_empty() {
        bail!("no cgroup hierarchy is mounted here");
    }
    let lines: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
    fs::write(record, lines.join("\n"))?;
    for folder in &folders {
        fs::create_dir(folder).with_context(|| format!("failed to create cgroup {}", folder.display()))?;
        // A cpuset is born empty, and no process may enter an empty one.
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let parent = folder.with_file_name(file);
            if folder.join("cgroup.clone_children").exists() && parent.exists() {
                fs::write(folder.join(file), fs::read(parent)?)?;
                fs::write(folder.join("cgroup.clone_children"), "1")?;
            }
        }
    }
    Ok(folders)
}

/// Kills what still runs in the cgroups of `record`, and removes them.
pub(super) fn remove(record: &Path) -> Result<()> {
    let lines = match fs::read_to_string(record) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        lines => lines.with_context(|| format!("failed to read {}", record.display()))?,
    };
    for folder in lines.lines().map(Path::new) {
        eventually(&format!("cgroup {} to go", folder.display()), Duration::from_secs(20), || {
            remove_tree(folder);
            Ok((!folder.exists()).then_some(()))
        })?;
    }
    Ok(())
}

/// One try, deepest first. A process takes a moment to die and a folder cannot go before it, so failing is normal here.
fn remove_tree(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path());
        }
    }
    let processes = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    for process in processes.lines().filter_map(|line| line.parse().ok()).filter(|&process: &u32| process > 0)
    {
        crate::process::kill(process).ok();
    }
    fs::remove_dir(folder).ok();
}

/// The folders that the cgroups are made in: our own cgroup of each v1 hierarchy and the root of v2, where the rule that
/// only leaves hold processes does not apply.
fn parents(memberships: &str, mounts: &str) -> Vec<PathBuf> {
    let hierarchies: Vec<(&str, &str)> = memberships
        .lines()
        .filter_map(|line| line.split_once(':').and_then(|(_, rest)| rest.split_once(':')))
        .collect();
    let mut parents = Vec::new();
    for (controllers, path) in &hierarchies {
        let Some(mount) = mount_point(mounts, controllers) else { continue };
        let own = mount.join(path.trim_start_matches('/'));
        let is_v1 = !controllers.is_empty();
        // Inside a container a path may be told from a root that is not mounted here.
        parents.push(if is_v1 && own.exists() { own } else { mount });
    }
    parents
}

/// Where the hierarchy of these v1 controllers (`""`: v2) is mounted, from lines like
/// `32 25 0:28 / /sys/fs/cgroup/cpu rw,relatime shared:9 - cgroup cgroup rw,cpu`.
fn mount_point(mounts: &str, controllers: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let (mount, filesystem) = line.split_once(" - ")?;
        let mut filesystem = filesystem.split(' ');
        let (kind, options) = (filesystem.next()?, filesystem.nth(1)?);
        let matches = match controllers {
            "" => kind == "cgroup2",
            _ => {
                kind == "cgroup"
                    && controllers.split(',').all(|wanted| options.split(',').any(|have| have == wanted))
            }
        };
        matches.then(|| mount.split(' ').nth(4).map(PathBuf::from))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
31 25 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
32 25 0:28 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
33 25 0:29 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory";

    #[test]
    fn each_hierarchy_is_found_where_it_is_mounted() {
        assert_eq!(mount_point(MOUNTS, "cpu,cpuacct"), Some("/sys/fs/cgroup/cpu,cpuacct".into()));
        assert_eq!(mount_point(MOUNTS, "memory"), Some("/sys/fs/cgroup/memory".into()));
        assert_eq!(mount_point(MOUNTS, ""), Some("/sys/fs/cgroup/unified".into()));
        assert_eq!(mount_point(MOUNTS, "pids"), None);
    }

    #[test]
    fn a_path_from_another_root_falls_back_to_the_mount() {
        let parents = parents("3:memory:/no/such/folder\n0::/user.slice", MOUNTS);
        assert_eq!(
            parents,
            [PathBuf::from("/sys/fs/cgroup/memory"), PathBuf::from("/sys/fs/cgroup/unified")]
        );
    }
}
