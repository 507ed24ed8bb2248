"""One executor at half speed beside one at full speed."""

from dataclasses import replace

from ..comparison import IMAGES
from ..contest import Contestant, Sample, hold
from ..lockstep import Job
from ..processes import in_threads
from ..section import Section

HALF = 0.5
GOAL = 0.9
MICRO_BATCHES = 64
METHOD = f"""Two executors of one thread, each on a CPU of its own, one of them with a quota of {HALF:.0%} of its CPU's time by
a cgroup. {MICRO_BATCHES} micro-batches of 16 images a step. What there is to gain is the sum of the rates that both measure
of themselves while they compute, by which micro-batches are shared. Beside it the sum of what each does alone, and what two
jobs that do not know of each other do at once: CPUs that share a core, its caches and its memory give no more."""
SUM_MEASURED = "the sum of the measured rates"
APART = "two jobs at once, full and half speed"
MEASURED, EVEN = "shared by measured rates", "shared evenly"


def measure(context):
    section = Section("A slow executor", METHOD)
    fast = Job(context.seconds, global_batch=16 * MICRO_BATCHES)
    slow = replace(fast, last_cpu_share=HALF)
    both = replace(slow, executors=2)
    train = context.lockstep.train
    contestants = [
        Contestant("full speed alone", lambda: train(fast)),
        Contestant("half speed alone", lambda: train(slow)),
        Contestant(APART, lambda: at_once(context, fast, slow)),
        Contestant(MEASURED, lambda: train(both)),
        Contestant(EVEN, lambda: train(replace(both, assignment="Even"))),
    ]
    outcome = section.take(hold(section.title, contestants, context.rounds))
    for title, goal in ((MEASURED, GOAL), (EVEN, None)):
        measured = {SUM_MEASURED: [sum(rates) for rates in outcome.details(title, "measuredRates")]}
        section.compare(f"both, {title}", IMAGES, outcome.values(title), measured, goal)
    alone = [sum(rates) for rates in zip(outcome.values("full speed alone"), outcome.values("half speed alone"))]
    peers = {"the sum of each alone": alone, APART: outcome.values(APART)}
    for name, values in peers.items():
        section.compare(f"both, {MEASURED}, of {name}", IMAGES, outcome.values(MEASURED), {name: values})
    return section


def at_once(context, fast, slow):
    """Two independent jobs at the same time, a CPU each; their rates added."""
    train, cpus = context.lockstep.train, context.machine.cpus_of(2, 1)
    samples = in_threads([lambda job=job, own=own: train(job, cpus=[own]) for job, own in zip((fast, slow), cpus)])
    return Sample(sum(sample.value for sample in samples))
