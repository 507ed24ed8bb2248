"""HDFS: reading a whole data set, training from it with a fifth in memory, and what checkpoints cost."""

from dataclasses import replace
from statistics import median

from ..comparison import IMAGES, Measure, Spread
from ..contest import Contestant, hold
from ..hdfs import DATA, Hdfs, scan
from ..lockstep import Job
from ..peers import PROGRAMS
from ..processes import Failed, environment
from ..section import Section, Table

MEBIBYTES = Measure("MiB/s", True)
CPU_SECONDS = Measure("CPU s/GiB", False, ".2f")
PASSES = 6
STREAMS = 4
GLOBAL_BATCH = 128
# A whole one, and the beginning of the next.
EPOCHS = 1.5
SPLIT = "test"
# "Training never waits for storage", within the noise of these runs.
GOAL_RATE = 0.97
CHECKPOINT_EVERY = 10
SECONDS_BETWEEN_CHECKPOINTS = 60
GOAL_SHARE = 0.01
METHOD = f"""A NameNode and three DataNodes, each a JVM of its own, share the CPUs with whoever reads. Reading: every
file of the data set, {PASSES} times after one that does not count. Lockstep reads the records as training does, in pieces
ahead of one thread that checks and parses them, within 64 MiB; Hadoop's client and the plain read (1 MiB at a time, from
the page cache) only take the bytes. CPU seconds are the reader's own. Training: one executor, one thread, global batch
{GLOBAL_BATCH}, {EPOCHS} epochs of 10,000 images.
Checkpoints: one every {CHECKPOINT_EVERY} steps, far more often than anybody wants them, so that what they cost can be
seen."""


def measure(context):
    section = Section("HDFS", METHOD)
    try:
        with Hdfs(context.hdfs, context.hadoop, context.lockstep.data, context.machine) as hdfs:
            reading(context, section, hdfs)
            training(context, section, hdfs)
            checkpoints(context, section, hdfs)
    except Failed as failure:
        section.failures["HDFS"] = str(failure)
    return section


def reading(context, section, hdfs):
    folder = context.lockstep.data / "train"

    def ours(uri):
        command = [context.lockstep.examples / "scan_rate", uri, PASSES]
        return scan(command, context.machine, environment(1, hdfs.environment()))

    hadoop = {streams: f"Hadoop's client, {streams} streams" for streams in (1, STREAMS)}
    contestants = [
        Contestant("Lockstep, HDFS", lambda: ours(f"{hdfs.uri}{DATA}/train")),
        *(
            Contestant(name, lambda streams=streams: hdfs.read_by_hadoop(f"{DATA}/train", PASSES, streams))
            for streams, name in hadoop.items()
        ),
        Contestant("Lockstep, files", lambda: ours(folder)),
        Contestant(
            "plain read, files",
            lambda: scan(["python3", PROGRAMS / "file_read.py", folder, PASSES], context.machine, environment(1)),
        ),
    ]
    outcome = section.take(hold("reading", contestants, context.rounds))
    cpu = lambda *names: {name: outcome.details(name, "cpuSecondsPerGib") for name in names}
    theirs = hadoop.values()
    section.compare("whole data set from HDFS", MEBIBYTES, outcome.values("Lockstep, HDFS"), outcome.group(*theirs))
    section.compare("the same, CPU", CPU_SECONDS, *cpu("Lockstep, HDFS").values(), cpu(*theirs))
    plain = "plain read, files"
    section.compare("whole data set from files", MEBIBYTES, outcome.values("Lockstep, files"), outcome.group(plain))
    section.compare("the same, CPU", CPU_SECONDS, *cpu("Lockstep, files").values(), cpu(plain))


def training(context, section, hdfs):
    steps = int(EPOCHS * context.lockstep.records_of(SPLIT) / GLOBAL_BATCH)
    files = Job(steps=steps, global_batch=GLOBAL_BATCH, data=SPLIT)
    whole = replace(files, data_uri=f"{hdfs.uri}{DATA}", variables=hdfs.environment())
    fifth = replace(whole, cache_size=f"{context.lockstep.bytes_of(SPLIT) // 5 >> 10}Ki")
    jobs = {
        "training from HDFS, a fifth in memory": fifth,
        "training from HDFS, all in memory": whole,
        "from files, all in memory": files,
    }
    contestants = [Contestant(name, lambda job=job: context.lockstep.train(job)) for name, job in jobs.items()]
    outcome = section.take(hold("training", contestants, context.rounds))
    *remote, files = jobs
    for title in remote:
        section.compare(title, IMAGES, outcome.values(title), outcome.group(files), GOAL_RATE)
    rows = [[title, shares(outcome.details(title, "dataWaitShare"))] for title in jobs]
    section.tables.append(Table(["training", "share of its time that the thread waited for data"], rows))


def checkpoints(context, section, hdfs):
    job = Job(context.seconds * 2, global_batch=GLOBAL_BATCH)
    saving = replace(
        job,
        checkpoint_uri=f"{hdfs.uri}/checkpoints",
        checkpoint_every=CHECKPOINT_EVERY,
        variables=hdfs.environment(),
    )
    contestants = [
        Contestant("with checkpoints", lambda: context.lockstep.train(saving)),
        Contestant("without", lambda: context.lockstep.train(job)),
    ]
    outcome = section.take(hold("checkpoints", contestants, context.rounds + 2))
    with_them, without = outcome.values("with checkpoints"), outcome.values("without")
    section.compare(
        f"training with a checkpoint every {CHECKPOINT_EVERY} steps", IMAGES, with_them, outcome.group("without")
    )
    pairs = list(zip(with_them, without))
    if not pairs:
        return
    commits = [seconds for round in outcome.details("with checkpoints", "commitSeconds") for seconds in round]
    cost = [CHECKPOINT_EVERY * GLOBAL_BATCH * (1 / slow - 1 / fast) for slow, fast in pairs]
    share = median(cost) / SECONDS_BETWEEN_CHECKPOINTS
    rows = [
        ["commit, from the state to its manifest on HDFS", milliseconds(commits)],
        ["training time that a checkpoint costs", milliseconds(cost)],
        ["share of training time at one a minute", f"{share:.2%} (goal: under {GOAL_SHARE:.0%})"],
    ]
    section.tables.append(Table(["checkpoints", f"{len(commits)} of them"], rows))


def shares(values):
    return Spread.of([100 * value for value in values]).text(".1f") + " %" if values else "none"


def milliseconds(seconds):
    return Spread.of([1000 * value for value in seconds]).text(".0f") + " ms" if seconds else "none"
