//! What happens to an HDFS while a job trains on it. Each test shows that training had begun, did the fault, and asks for the
//! weights of an undisturbed run.

use std::{thread::sleep, time::Duration};

use anyhow::{Result, ensure};
use lockstep_tests::hdfs::{Daemon, Options};

use crate::bed::{Bed, LONG, MEDIUM, Training};

/// A fault begins once this step's checkpoint is committed.
const BEGIN: u32 = 30;
/// Steps after a fault that show that training and checkpoints go on.
const MORE: u32 = 30;

pub(crate) fn a_datanode_killed_in_the_midst_of_reads_and_writes_changes_nothing(bed: &Bed) -> Result<()> {
    let mut training = bed.train("datanode-killed", MEDIUM)?;
    let step = bed.until_step(&mut training, BEGIN)?;
    bed.hdfs().datanode(0).kill()?;
    bed.until_step(&mut training, step + MORE)?;
    bed.hdfs().datanode(0).restart()?;
    ends_undisturbed(bed, training)?;
    bed.hdfs().wait_ready()
}

/// Whoever reads there notices by the checksums and reads the other replica.
pub(crate) fn flipped_bits_on_a_datanode_change_nothing(_: &Bed) -> Result<()> {
    // Nobody repairs the blocks: the other tests shall not meet them.
    let bed = &Bed::start()?;
    let mut training = bed.train("flipped-bits", LONG)?;
    let step = bed.until_step(&mut training, BEGIN)?;
    let blocks = bed.hdfs().flip_bits(1)?;
    ensure!(blocks > 5, "only {blocks} blocks to flip bits in");
    bed.until_step(&mut training, step + MORE)?;
    ends_undisturbed(bed, training)
}

pub(crate) fn full_storage_is_named_and_training_goes_on_when_there_is_room(bed: &Bed) -> Result<()> {
    let name = "quota";
    let mut training = bed.train(name, LONG)?;
    let step = bed.until_step(&mut training, BEGIN)?;
    let folder = format!("/checkpoints/{name}");
    // Less than what is there already.
    bed.hdfs().space_quota(&folder, Some(1 << 20))?;
    training.until_it_says("storage is full; free space or raise the quota")?;
    let words = training.words()?;
    ensure!(words.contains(&folder), "what is full is not named: {words}");
    ensure!(
        bed.committed(name)?.last().is_some_and(|newest| *newest >= step),
        "a committed checkpoint is lost"
    );
    bed.hdfs().space_quota(&folder, None)?;
    training.until_it_says("storage works again")?;
    ends_undisturbed(bed, training)
}

pub(crate) fn a_frozen_datanode_changes_nothing(bed: &Bed) -> Result<()> {
    let mut training = bed.train("datanode-frozen", LONG)?;
    let step = bed.until_step(&mut training, BEGIN)?;
    bed.hdfs().datanode(2).freeze()?;
    let went_on = bed.until_step(&mut training, step + MORE);
    bed.hdfs().datanode(2).thaw()?;
    went_on?;
    ends_undisturbed(bed, training)?;
    bed.hdfs().wait_ready()
}

pub(crate) fn a_namenode_killed_and_restarted_changes_nothing(bed: &Bed) -> Result<()> {
    let mut training = bed.train("namenode-killed", LONG)?;
    let step = bed.until_step(&mut training, BEGIN)?;
    bed.hdfs().namenode().kill()?;
    sleep(Duration::from_secs(5));
    bed.hdfs().namenode().restart()?;
    bed.hdfs().wait_ready()?;
    ensure!(
        bed.committed("namenode-killed")?.last().is_some_and(|newest| *newest >= step),
        "a committed checkpoint is lost"
    );
    ends_undisturbed(bed, training)
}

pub(crate) fn half_a_minute_of_safe_mode_changes_nothing(bed: &Bed) -> Result<()> {
    let mut training = bed.train("safe-mode", LONG)?;
    let step = bed.until_step(&mut training, BEGIN)?;
    bed.hdfs().safe_mode(true)?;
    sleep(Duration::from_secs(30));
    let kept = bed.committed("safe-mode");
    bed.hdfs().safe_mode(false)?;
    ensure!(kept?.last().is_some_and(|newest| *newest >= step), "a committed checkpoint is lost");
    ends_undisturbed(bed, training)
}

pub(crate) fn a_killed_active_namenode_changes_nothing(bed: &Bed) -> Result<()> {
    loses_its_active_namenode(bed, Daemon::kill)
}

/// Its connections stay open and nothing is answered: whoever waited for it would wait for ever.
pub(crate) fn a_frozen_active_namenode_changes_nothing(bed: &Bed) -> Result<()> {
    loses_its_active_namenode(bed, |namenode| namenode.freeze())
}

/// Trains on a name service, whose standby becomes active some seconds after the fault.
fn loses_its_active_namenode(bed: &Bed, fault: impl Fn(&mut Daemon) -> Result<()>) -> Result<()> {
    let ha = &Bed::start_with(&Options { datanodes: 2, high_availability: true, ..Options::default() })?;
    let mut training = ha.train("failover", LONG)?;
    let step = ha.until_step(&mut training, BEGIN)?;
    fault(ha.hdfs().namenode())?;
    sleep(Duration::from_secs(3));
    ha.hdfs().fail_over()?;
    ensure!(
        ha.committed("failover")?.last().is_some_and(|newest| *newest >= step),
        "a committed checkpoint is lost"
    );
    ha.until_step(&mut training, step + MORE)?;
    ends_undisturbed(bed, training)
}

fn ends_undisturbed(bed: &Bed, training: Training) -> Result<()> {
    bed.ensure_same_as_undisturbed(&training.summary()?)
}
