//! An HDFS that wants Kerberos: whoever has a keytab or a ticket cache trains on it, whoever has not is told so.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use lockstep_crds::executor::exit_code;
use lockstep_tests::lockstep::Job;

use crate::{bed::Bed, same_weights::ensure_same};

/// Names a folder with principal, keytab or ticket cache, and krb5.conf.
const KERBEROS_DIR: &str = "LOCKSTEP_KERBEROS_DIR";
/// What Kerberos' own programs read.
const REALMS: &str = "KRB5_CONFIG";
const TICKETS: &str = "KRB5CCNAME";
const KEYTAB: &str = "KRB5_CLIENT_KTNAME";

/// The realm is in the folder's krb5.conf alone.
pub(crate) fn training_with_a_keytab_gives_the_weights_of_files(bed: &Bed) -> Result<()> {
    let secured = bed.secured()?;
    // It acts as itself, and must not ask for the permission to.
    let job = job(secured, "keytab")?.set("storage.user=lockstep").env(KERBEROS_DIR, folder(secured)?);
    ensure_same(&job.run(&["--executors", "2"])?, &secured.job_on_files()?.run(&["--executors", "1"])?)?;
    let listing = secured.hdfs().shell(&["dfs", "-ls", "-R", "/checkpoints/keytab"])?;
    ensure!(listing.contains("RESULT.json"), "Hadoop's shell finds no result:\n{listing}");
    Ok(())
}

/// As after `kinit`, and the same cache in a folder.
pub(crate) fn training_with_a_ticket_cache_gives_the_weights_of_files(bed: &Bed) -> Result<()> {
    let secured = bed.secured()?;
    let mine = tempfile::tempdir()?;
    let cache = mine.path().join("ccache");
    let job = |name: &str| -> Result<Job> {
        let job = job(secured, name)?.env(REALMS, folder(secured)?.join("krb5.conf"));
        Ok(job.env(TICKETS, format!("FILE:{}", cache.display())))
    };
    let reference = secured.job_on_files()?.run(&["--executors", "1"])?;
    // Kerberos' library itself fills the cache, as kinit would.
    job("kinit")?.env(KEYTAB, folder(secured)?.join("keytab")).run(&["--executors", "1"])?;
    ensure!(cache.is_file(), "no ticket was cached");
    ensure_same(&job("cache")?.run(&["--executors", "2"])?, &reference)?;

    for file in ["principal", "krb5.conf"] {
        std::fs::copy(folder(secured)?.join(file), mine.path().join(file))?;
    }
    let job = self::job(secured, "cache-folder")?.env(KERBEROS_DIR, mine.path());
    ensure_same(&job.run(&["--executors", "2"])?, &reference)
}

pub(crate) fn a_missing_ticket_is_refused_at_once_with_the_remedy(bed: &Bed) -> Result<()> {
    let secured = bed.secured()?;
    let job = job(secured, "no-ticket")?.env(REALMS, folder(secured)?.join("krb5.conf"));
    let job = job.env(TICKETS, "FILE:/nowhere/ccache").env(KEYTAB, "/nowhere/keytab");
    refused(&job, "run kinit, or set LOCKSTEP_KERBEROS_DIR")
}

pub(crate) fn a_missing_library_is_named(bed: &Bed) -> Result<()> {
    let secured = bed.secured()?;
    let libraries = tempfile::tempdir()?;
    // Found first, and no library.
    std::fs::write(libraries.path().join("libgssapi_krb5.so.2"), "none")?;
    let job = job(secured, "no-library")?.env(KERBEROS_DIR, folder(secured)?);
    refused(&job.env("LD_LIBRARY_PATH", libraries.path()), "libgssapi-krb5-2")
}

/// Checks that the job ends as one whose spec is wrong, and says this.
fn refused(job: &Job, words: &str) -> Result<()> {
    let (code, said) = job.fail(&["--executors", "1"])?;
    ensure!(code == i32::from(exit_code::CONFIG), "exit code {code}: {said}");
    let last = said.lines().last().unwrap_or_default();
    ensure!(last.starts_with("error: ") && last.contains(words), "{words:?} is not said: {said}");
    Ok(())
}

/// A job of somebody who has nothing of Kerberos: set to nothing these count as unset.
fn job(secured: &Bed, name: &str) -> Result<Job> {
    Ok(secured.job(name)?.env(KERBEROS_DIR, "").env(REALMS, ""))
}

fn folder(secured: &Bed) -> Result<PathBuf> {
    secured.hdfs().kerberos_dir().context("an HDFS without Kerberos")
}
