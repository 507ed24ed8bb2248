//! How executors on one machine find each other: each writes its address into a shared folder.

use std::{fs, io, net::SocketAddr, path::Path};

/// Writes this executor's address, replacing that of an earlier start in one step.
pub(crate) fn publish(folder: &Path, index: u32, address: SocketAddr) -> io::Result<()> {
    let path = folder.join(format!("{index}.address"));
    let unfinished = folder.join(format!("{index}.address.{}", std::process::id()));
    fs::write(&unfinished, address.to_string())?;
    fs::rename(unfinished, path)
}

/// The address of executor `index`; of one that has not started, a name that cannot be reached.
pub(crate) fn look_up(folder: &Path, index: u32) -> String {
    fs::read_to_string(folder.join(format!("{index}.address"))).unwrap_or_else(|_| "127.0.0.1:0".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_address_of_an_executor_is_found_and_a_missing_one_cannot_be_reached() {
        let folder = tempfile::tempdir().unwrap();
        for port in [4000, 4001] {
            publish(folder.path(), 3, SocketAddr::from(([127, 0, 0, 1], port))).unwrap();
        }
        assert_eq!(look_up(folder.path(), 3), "127.0.0.1:4001");
        assert_eq!(look_up(folder.path(), 4), "127.0.0.1:0");
    }
}
