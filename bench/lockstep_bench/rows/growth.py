"""What more executors, larger micro-batches and wider models cost."""

from ..comparison import IMAGES, Spread
from ..contest import Contestant, hold
from ..lockstep import Job, two_block
from ..peers import Work
from ..section import Section, Table

EXECUTORS = range(1, 9)
MICRO_BATCHES = (4, 8, 16, 32, 64, 128)
WIDTHS = (0.5, 1.0, 2.0)
ROUNDS = 2
SECONDS = 3.0
METHOD = """Executors: one thread each, global batch 128 in micro-batches of 16, all on the CPUs of this machine,
over loopback; where there are more executors than CPUs, they share them. Waiting is the share of the time between
the end of an executor's own micro-batches and the arrival of the sum of all, so it holds communication and the
slower ones. Bytes are loopback's, headers included. Micro-batch and width: one executor, one thread, an optimizer
step after every batch; PyTorch in channels_last."""


def measure(context):
    section = Section("Cost as the work grows", METHOD)
    section.tables.append(executors(context, section))
    for batch in MICRO_BATCHES:
        job = Job(SECONDS, micro_batch=batch, global_batch=batch)
        against_pytorch(context, section, f"micro-batch {batch}", job, Work(SECONDS, batch=batch))
    for width in WIDTHS:
        job = Job(SECONDS, layers=two_block(width))
        against_pytorch(context, section, f"{width:g} x the filters", job, Work(SECONDS, width=width))
    return section


def executors(context, section):
    contestants = [
        Contestant(f"{job.executors} executors", lambda job=job: context.lockstep.train(job))
        for job in (Job(SECONDS, count, global_batch=128) for count in EXECUTORS)
    ]
    outcome = section.take(hold("executors", contestants, ROUNDS))
    rows = [
        [
            contestant.name,
            Spread.of(outcome.values(contestant.name)).text(".0f"),
            f"{outcome.detail(contestant.name, 'waitedShare'):.1%}",
            f"{(outcome.detail(contestant.name, 'bytesPerExecutorAndStep') or 0) / 1e6:.2f}",
        ]
        for contestant in contestants
        if outcome.values(contestant.name)
    ]
    return Table(["", "images/s", "waiting", "MB sent an executor and step"], rows)


def against_pytorch(context, section, title, job, work):
    contestants = [
        Contestant(f"Lockstep, {title}", lambda: context.lockstep.train(job)),
        Contestant(f"PyTorch, {title}", lambda: context.peers.pytorch(work)),
    ]
    outcome = section.take(hold("growth", contestants, ROUNDS))
    ours, theirs = (contestant.name for contestant in contestants)
    section.compare(title, IMAGES, outcome.values(ours), outcome.group(theirs))
