"""Runs `lockstep run` as a user would, and reads from its executors' logs when each step was done."""

import json
import tempfile
import time
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from statistics import mean
from typing import List, Optional

from .contest import Sample
from .processes import POLL_SECONDS, TIMEOUT_SECONDS, Failed, Process
from .processes import children, environment, loopback_bytes, peak_bytes, pin
from .quota import Quota

WARM_UP_STEPS = 10
# At least so many steps are measured, however long they take.
FEWEST_STEPS = 5
STEP_LOG = "lockstep::step"
COMMITTED = '"message":"committed"'


@dataclass(frozen=True)
class Job:
    """What to train, with how many, and for how many seconds or steps after the warm-up; without either to the end.

    Data and checkpoints are in files, the latter never written, unless URIs say otherwise.
    """

    seconds: Optional[float] = None
    steps: Optional[int] = None
    executors: int = 1
    threads: int = 1
    micro_batch: int = 16
    global_batch: int = 16
    kernels: str = "Native"
    isa: Optional[str] = None
    layers: Optional[list] = None
    data: str = "train"
    data_uri: Optional[str] = None
    cache_size: Optional[str] = None
    checkpoint_uri: Optional[str] = None
    checkpoint_every: int = 1_000_000
    epochs: int = 1000
    assignment: str = "Measured"
    # Of a CPU's time, for the last executor; none: all of it.
    last_cpu_share: Optional[float] = None
    variables: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Step:
    """A finished step of an executor: its number, when (seconds since the epoch), how many micro-batches it computed in how
    long, how long it waited for the others then, and for its data in this step and all before.
    """

    number: int
    at: float
    micro_batches: int
    computed: float
    waited: float
    data_wait: float


@dataclass
class Log:
    """One executor's log as far as it was read."""

    path: Path
    steps: List[Step] = field(default_factory=list)
    # Seconds that each committed checkpoint took.
    commits: List[float] = field(default_factory=list)
    offset: int = 0

    def read(self):
        with open(self.path, "rb") as file:
            file.seek(self.offset)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        self.offset += len(whole)
        lines = whole.decode(errors="replace").splitlines()
        self.steps += filter(None, map(step_of, lines))
        self.commits += [json.loads(line)["fields"]["seconds"] for line in lines if COMMITTED in line]


def step_of(line):
    """The step that a line of an executor's log tells of; None where it tells of something else."""
    if STEP_LOG not in line:
        return None
    entry = json.loads(line)
    fields = entry["fields"]
    at = datetime.fromisoformat(entry["timestamp"].replace("Z", "+00:00")).timestamp()
    names = ("micro_batches", "computed_seconds", "waited_seconds", "data_wait_seconds")
    return Step(fields["step"], at, *(fields[name] for name in names))


def rate(steps, global_batch):
    """Images a second over `steps`: from the first one's end to the last one's."""
    return (steps[-1].number - steps[0].number) * global_batch / (steps[-1].at - steps[0].at)


def measured_rate(steps, micro_batch):
    """Images a second that the executor measured of itself while it computed."""
    return sum(step.micro_batches for step in steps) * micro_batch / sum(step.computed for step in steps)


def waited_share(steps):
    """The share of the time of `steps` in which the executor waited for the others' sums."""
    return sum(step.waited for step in steps[1:]) / (steps[-1].at - steps[0].at)


def data_wait_share(steps):
    """The share of the time of `steps` in which a computing thread waited for its data."""
    return (steps[-1].data_wait - steps[0].data_wait) / (steps[-1].at - steps[0].at)


class Lockstep:
    """The built programs and the prepared data set."""

    def __init__(self, program, examples, data, machine):
        self.program, self.examples, self.data, self.machine = program, Path(examples), Path(data), machine

    def records_of(self, split):
        """The number of a split's images."""
        return self.split(split)["records"]

    def bytes_of(self, split):
        """Of a split's images, as they are kept in memory."""
        return sum(shard["bytes"] for shard in self.split(split)["shards"])

    def split(self, name):
        return json.loads(Path(self.data, name, "dataset.json").read_text())

    def train(self, job, cpus=None):
        """Trains `job`; the sample's value is images/s after the warm-up. `cpus`: of each executor."""
        with tempfile.TemporaryDirectory(prefix="lockstep-bench-") as folder:
            Path(folder, "tmp").mkdir()
            Path(folder, "job.yaml").write_text(json.dumps(self.manifest(job, folder)))
            run = Run(self, job, folder, cpus or self.machine.cpus_of(job.executors, job.threads))
            try:
                run.watch()
            finally:
                run.end()
            return run.sample()

    def manifest(self, job, folder):
        model = {"layers": job.layers} if job.layers else {"preset": "TwoBlock"}
        numerics = {"kernels": job.kernels}
        data = {"training": {"uri": f"{job.data_uri or self.data}/{job.data}"}, "validation": {"fraction": 0}}
        if job.cache_size:
            data["cacheSize"] = job.cache_size
        checkpoint = {"uri": job.checkpoint_uri or f"{folder}/checkpoints", "everySteps": job.checkpoint_every}
        return {
            "apiVersion": "lockstep.dev/v1alpha1",
            "kind": "CnnTrainingJob",
            "metadata": {"name": "bench"},
            "spec": {
                "executors": job.executors,
                "elastic": {"assignment": job.assignment},
                "model": model,
                "data": data,
                "training": {
                    "epochs": job.epochs,
                    "globalBatchSize": job.global_batch,
                    "microBatchSize": job.micro_batch,
                    "seed": 42,
                    "numerics": numerics,
                },
                "checkpoint": checkpoint,
            },
        }


class Run:
    """One `lockstep run` under way."""

    def __init__(self, lockstep, job, folder, cpus):
        self.job, self.folder, self.cpus = job, Path(folder), cpus
        self.logs, self.peaks = {}, {}
        self.loopback = {}
        self.quota = Quota(job.last_cpu_share) if job.last_cpu_share else None
        variables = {"TMPDIR": f"{folder}/tmp", "LOCKSTEP_LOG": f"info,{STEP_LOG}=debug", **job.variables}
        if job.isa:
            variables["LOCKSTEP_ISA"] = job.isa
        command = [lockstep.program, "run", "--file", f"{folder}/job.yaml", "--threads", job.threads, "--json"]
        everywhere = set().union(*cpus)
        self.process = Process(command, everywhere, environment(job.threads, variables), folder)

    def watch(self):
        """Until the job has ended, or enough steps are seen."""
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while True:
            ended = self.process.check()
            self.look()
            if ended or self.has_enough():
                return
            if time.monotonic() > deadline:
                raise Failed(f"no end after {TIMEOUT_SECONDS} s: {self.process.last_words()}")
            time.sleep(POLL_SECONDS)

    def end(self):
        self.process.end()
        if self.quota:
            self.quota.end()

    def look(self):
        """Reads on in the logs, and sees to the executors' CPUs and memory."""
        found = children(self.process.child.pid)
        new = [pid for pid in found if pid not in self.peaks]
        for pid in found:
            self.peaks[pid] = max(self.peaks.get(pid, 0), peak_bytes(pid))
        for executor, pid in enumerate(sorted(self.peaks)):
            # Until the first step threads still come up; a single CPU set holds for all from the start.
            if self.job.executors > 1 and pid in found and (pid in new or not self.first_log_steps()):
                pin(pid, self.cpus[executor % len(self.cpus)])
            if self.quota and pid in new and executor == self.job.executors - 1:
                self.quota.hold(pid)
        for path in self.folder.glob("tmp/lockstep-run-*/executor-*.log"):
            log = self.logs.setdefault(path.stem, Log(path))
            try:
                log.read()
            except FileNotFoundError:
                pass  # The folder goes with the end of the run; what was read counts.
        steps = self.first_log_steps()
        if steps:
            self.loopback[steps[-1].number] = loopback_bytes()

    def first_log_steps(self):
        return self.logs["executor-0"].steps if "executor-0" in self.logs else []

    def has_enough(self):
        steps = self.first_log_steps()[WARM_UP_STEPS:]
        if self.job.steps is not None:
            return len(steps) >= self.job.steps
        return (
            self.job.seconds is not None
            and len(steps) > FEWEST_STEPS
            and steps[-1].at - steps[0].at >= self.job.seconds
        )

    def sample(self):
        steps = self.first_log_steps()
        measured = steps[WARM_UP_STEPS:]
        if len(measured) < 2:
            raise Failed(
                f"{len(steps)} steps in the log: is the program older than its log lines of steps? "
                + self.process.last_words()
            )
        after_warm_up = [log.steps[WARM_UP_STEPS:] for log in self.logs.values()]
        details = {
            "firstStepSeconds": steps[0].at - self.process.started_at,
            "peakBytes": max(self.peaks.values(), default=0),
            "steps": len(measured),
            "measuredRates": [measured_rate(steps, self.job.micro_batch) for steps in after_warm_up if steps],
            "waitedShare": mean(waited_share(steps) for steps in after_warm_up if len(steps) > 1),
            "dataWaitShare": mean(data_wait_share(steps) for steps in after_warm_up if len(steps) > 1),
            "bytesPerExecutorAndStep": self.bytes_per_step(),
            "commitSeconds": [seconds for log in self.logs.values() for seconds in log.commits],
        }
        return Sample(rate(measured, self.job.global_batch), details)

    def bytes_per_step(self):
        """Bytes that an executor sends a step, from what loopback carried in all; its other users count as well."""
        seen = {step: count for step, count in self.loopback.items() if step > WARM_UP_STEPS and count is not None}
        if len(seen) < 2:
            return None
        first, last = min(seen), max(seen)
        return (seen[last] - seen[first]) / (last - first) / self.job.executors


def two_block(width):
    """The layers of the preset TwoBlock with `width` times its filters."""
    layers = []
    for filters in (32, 64):
        for _ in range(2):
            layers += [
                {"type": "Conv2D", "conv2D": {"filters": round(filters * width), "kernelSize": 3}},
                {"type": "ReLU"},
                {"type": "BatchNorm"},
            ]
        layers += [{"type": "MaxPool2D"}, {"type": "Dropout", "dropout": {"rate": 0.25}}]
    return layers + [
        {"type": "Flatten"},
        {"type": "Dense", "dense": {"units": 128}},
        {"type": "ReLU"},
        {"type": "Dropout", "dropout": {"rate": 0.5}},
        {"type": "Dense", "dense": {"units": 10}},
    ]
