"""Data: decoding records beside TensorFlow and memory itself, preparing and analysing beside PySpark."""

import os
import shutil
import sys
import tempfile
from pathlib import Path

from ..comparison import Measure
from ..contest import Contestant, Sample, hold
from ..peers import PROGRAMS
from ..processes import environment, run_together
from ..section import Section

RATE = Measure("GiB/s", True, ".2f")
IMAGES = Measure("images/s", True)
GIBIBYTE = 1 << 30
PASSES = 3
# For every CPU two, so that no thread waits long for the last one.
PARTITIONS_PER_CPU = 2
IMAGES_OF_TRAINING, IMAGES_OF_BOTH = 50_000, 60_000
GOAL_TENSORFLOW, GOAL_SPARK = 5, 10
GOAL_RATE = 2.5
METHOD = f"""Decoding: one thread on one CPU, {PASSES} passes over the shards of the training split in the page cache. Records:
both checksums of every record. Samples: also image and label, the pixels copied out. Memory: every byte added up, nothing else.
Preparing and analysing: CIFAR-10's binary files with random images, all CPUs. Lockstep: the whole command, from its start to its
end, the data set's digests and statistics included, and the report with its pictures. PySpark: from when the session is up and
its workers are, checksums by the CPU's instruction, messages by protobuf's C code, statistics by NumPy. Both wait until what they
prepared is on the disk (fsync), as does copying: `cp` of the prepared files, then `sync`."""
DECODED = {"recordBytesPerSecond": "records", "sampleBytesPerSecond": "samples"}


def measure(context):
    section = Section("Data", METHOD)
    decoding(context, section)
    with tempfile.TemporaryDirectory(prefix="lockstep-bench-") as folder:
        preparing(context, section, Path(folder))
    return section


def decoding(context, section):
    folder = context.lockstep.data / "train"

    def run(command):
        (result,) = run_together([command], context.machine.cpus_of(1, 1), [environment(1)])
        return Sample(result["recordBytesPerSecond"] / GIBIBYTE, result)

    ours, theirs = "Lockstep, decode", "TensorFlow, decode"
    tensorflow = [f"{context.peers.tensorflow_folder}/bin/python", PROGRAMS / "tensorflow_records.py", folder, PASSES]
    contestants = [
        Contestant(ours, lambda: run([context.lockstep.examples / "decode_rate", folder, PASSES])),
        Contestant(theirs, lambda: run(tensorflow)),
    ]
    outcome = section.take(hold("decoding", contestants, context.rounds))
    rates = lambda name, key: [value / GIBIBYTE for value in outcome.details(name, key)]
    for key, title in DECODED.items():
        section.compare(f"{title}, of TensorFlow's", RATE, rates(ours, key), {"TFRecordDataset": rates(theirs, key)}, GOAL_TENSORFLOW)
    memory = {"reading memory": rates(ours, "readBytesPerSecond")}
    goal = {f"{GOAL_RATE} GiB/s": [GOAL_RATE] * len(rates(ours, "recordBytesPerSecond"))}
    section.compare("records, of memory", RATE, rates(ours, "recordBytesPerSecond"), memory)
    section.compare("records, of the goal", RATE, rates(ours, "recordBytesPerSecond"), goal, 1)


def preparing(context, section, folder):
    """Every run writes anew; what Lockstep prepared first is what both analyse."""
    source, prepared, out = folder / "source", folder / "prepared", folder / "out"
    cpus = [set(context.machine.cpus)]
    program, partitions = context.lockstep.program, PARTITIONS_PER_CPU * len(context.machine.cpus)

    def finish(*command):
        """The seconds that it takes, from its start to its end."""
        times = 'start=$EPOCHREALTIME; "$@" > /dev/null && echo "{\\"start\\": $start, \\"end\\": $EPOCHREALTIME}"'
        (result,) = run_together([["bash", "-c", times, "bash", *command]], cpus, [environment(1)])
        return result["end"] - result["start"]

    finish(sys.executable, context.repository / "bench" / "random_images.py", source)
    finish(program, "prepare", "cifar10", source, prepared)

    def rate(images, *command):
        """Of the command, which writes `out`."""
        sample = Sample(images / finish(*command))
        remove(out)
        return sample

    def spark(what, data):
        python = f"{context.spark}/bin/python"
        command = [python, PROGRAMS / "spark_data.py", what, data, out, partitions]
        (result,) = run_together([command], cpus, [environment(1)])
        context.peers.versions["PySpark"] = result["version"]
        remove(out)
        return Sample(result["images"] / result["seconds"])

    train = prepared / "train"
    copy = ["bash", "-c", 'cp -r "$1" "$2" && sync', "bash", prepared, out]
    contestants = [
        Contestant("Lockstep, prepare", lambda: rate(IMAGES_OF_BOTH, program, "prepare", "cifar10", source, out)),
        Contestant("PySpark, prepare", lambda: spark("prepare", source)),
        Contestant("copying", lambda: rate(IMAGES_OF_BOTH, *copy)),
        Contestant("Lockstep, analyze", lambda: rate(IMAGES_OF_TRAINING, program, "analyze", train, "--html", out)),
        Contestant("PySpark, analyze", lambda: spark("analyze", train)),
    ]
    outcome = section.take(hold("preparing", contestants, context.rounds))
    section.compare("prepare, of copying", IMAGES, outcome.values("Lockstep, prepare"), {"cp and sync": outcome.values("copying")})
    for what in ("prepare", "analyze"):
        theirs = {"PySpark": outcome.values(f"PySpark, {what}")}
        section.compare(what, IMAGES, outcome.values(f"Lockstep, {what}"), theirs, GOAL_SPARK)


def remove(out):
    """Waits for the disk too, so that no run pays for what the one before left unwritten."""
    if out.is_dir():
        shutil.rmtree(out)
    else:
        out.unlink(missing_ok=True)
    os.sync()
