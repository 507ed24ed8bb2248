"""The sum of float32 vectors over 2 and 4 processes: our collective against gloo, and what raw TCP would need."""

from ..comparison import MILLISECONDS
from ..contest import Contestant, Sample, hold
from ..processes import environment, run_together
from ..section import Section

GOAL = 1.0
# Megabytes of float32 values and how often; the reference's CNN has 2.4 MB of gradients.
SIZES = {2.4: 40, 64.0: 6}
METHOD = """Milliseconds until every process has the sum, on loopback, a CPU each where there are enough. Raw TCP is
a ring of plain sockets in which every process sends and receives the 2 (p - 1) / p of the vector that no all-reduce
can do without; its share is its time over ours."""
KINDS = ("Lockstep plain", "Lockstep TLS", "gloo", "raw TCP")


def measure(context):
    section = Section("All-reduce", METHOD)
    for processes in (2,) if context.quick else (2, 4):
        for megabytes, repetitions in SIZES.items():
            if context.quick and megabytes > 10:
                continue
            one_size(context, section, processes, megabytes, repetitions)
    return section


def one_size(context, section, processes, megabytes, repetitions):
    title = f"all-reduce of {megabytes:g} MB, {processes} processes"
    work = (processes, megabytes, repetitions)
    names = {kind: f"{kind}, {megabytes:g} MB, {processes}" for kind in KINDS}
    contestants = [
        Contestant(names["Lockstep plain"], lambda: ours(context, *work, tls=False)),
        Contestant(names["Lockstep TLS"], lambda: ours(context, *work, tls=True)),
        Contestant(names["gloo"], lambda: context.peers.gloo(*work)),
        Contestant(names["raw TCP"], lambda: context.peers.raw_tcp(*work)),
    ]
    outcome = section.take(hold(title, contestants, context.rounds))
    gloo = outcome.values(names["gloo"])
    for kind in ("plain", "TLS"):
        values = outcome.values(names[f"Lockstep {kind}"])
        section.compare(f"{title}, {kind}", MILLISECONDS, values, {"gloo": gloo} if gloo else {}, GOAL)
        raw = outcome.values(names["raw TCP"])
        if values and raw and gloo:
            section.comparisons[-1].notes.append(f"{share(raw, values):.0%} of raw TCP (gloo: {share(raw, gloo):.0%})")


def share(raw, values):
    """The part of raw TCP's speed that was reached: medians of ratios of the same round."""
    ratios = sorted(least / took for least, took in zip(raw, values))
    return ratios[len(ratios) // 2]


def ours(context, processes, megabytes, repetitions, tls):
    command = [context.lockstep.examples / "all_reduce", "--executors", processes, "--megabytes", megabytes]
    command += ["--repetitions", repetitions] + ["--tls"] * tls
    everywhere = set().union(*context.machine.cpus_of(processes, 1))
    (result,) = run_together([command], [everywhere], [environment(1)])
    return Sample(result["milliseconds"])
