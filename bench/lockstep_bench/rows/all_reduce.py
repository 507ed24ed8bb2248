"""The sum of float32 vectors over 2 and 4 processes: our collective against gloo, and what raw TCP would need."""

from statistics import median

from ..comparison import MILLISECONDS
from ..contest import Contestant, Sample, hold
from ..processes import environment, run_together
from ..section import Section

GOAL = 1.0
# Megabytes of float32 values and how often; the reference's CNN has 2.4 MB of gradients.
SIZES = {2.4: 40, 64.0: 6}
# Our example warms up for 20 rounds, which takes a minute with large vectors.
LARGE, LARGE_ROUNDS = 10.0, 2
METHOD = """Milliseconds until every process has the sum, on loopback, a CPU each where there are enough. Raw TCP is
a ring of plain sockets in which every process sends and receives the 2 (p - 1) / p of the vector that no all-reduce
can do without; its share is its time over ours."""


def measure(context):
    section = Section("All-reduce", METHOD)
    for processes in (2,) if context.quick else (2, 4):
        for megabytes, repetitions in SIZES.items():
            if context.quick and megabytes > LARGE:
                continue
            one_size(context, section, processes, megabytes, repetitions)
    return section


def one_size(context, section, processes, megabytes, repetitions):
    title = f"all-reduce of {megabytes:g} MB, {processes} processes"
    work = (processes, megabytes, repetitions)
    lockstep, gloo, tcp = (f"{kind}, {megabytes:g} MB, {processes}" for kind in ("Lockstep", "gloo", "raw TCP"))
    contestants = [
        Contestant(lockstep, lambda: ours(context, *work)),
        Contestant(gloo, lambda: context.peers.gloo(*work)),
        Contestant(tcp, lambda: context.peers.raw_tcp(*work)),
    ]
    rounds = min(context.rounds, LARGE_ROUNDS) if megabytes > LARGE else context.rounds
    outcome = section.take(hold(title, contestants, rounds))
    theirs, raw = outcome.values(gloo), outcome.values(tcp)
    for kind in ("plain", "TLS"):
        values = outcome.details(lockstep, kind)
        section.compare(f"{title}, {kind}", MILLISECONDS, values, outcome.group(gloo), GOAL)
        if values and raw and theirs:
            note = f"{share(raw, values):.0%} of raw TCP (gloo: {share(raw, theirs):.0%})"
            section.comparisons[-1].notes.append(note)


def share(raw, values):
    """The part of raw TCP's speed that was reached, by the median of the rounds."""
    return median(least / took for least, took in zip(raw, values))


def ours(context, processes, megabytes, repetitions):
    """Plain and TLS, in milliseconds; the example starts its processes itself."""
    command = [context.lockstep.examples / "all_reduce", processes, int(megabytes * 1e6), repetitions]
    (result,) = run_together([command], [context.machine.some_cpus(processes)], [environment(1)])
    milliseconds = {"plain": result["plain"]["medianMs"], "TLS": result["tls"]["medianMs"]}
    return Sample(milliseconds["plain"], milliseconds)
