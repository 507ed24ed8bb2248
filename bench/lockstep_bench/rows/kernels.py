"""The train step without the program around it, and the convolutions against what the core can do at most."""

import re
import subprocess
from statistics import median

from ..comparison import MILLISECONDS
from ..contest import Contestant, Sample, hold
from ..processes import Failed, environment, run_together
from ..section import Section, Table
from ..work import TWO_BLOCK, memory_rate

STEPS = 60
MICRO_BATCH = 16
METHOD = """The examples `train_step` (a step of the engine: forward, backward, Adam, no reading, no collective) and
`convolution_rate` (each convolution alone, and the core's fused multiply-adds). Operations are those of a direct
convolution; Winograd's does about a quarter of them, so its rate can exceed the peak."""


def measure(context):
    section = Section("Train step alone, and roofline", METHOD)
    programs = {"Native": "train_step", "LibTorch": "libtorch_train_step"}
    contestants = [
        Contestant(f"step alone, {name}", lambda program=program: step(context, program))
        for name, program in programs.items()
    ]
    outcome = section.take(hold(section.title, contestants, context.rounds))
    ours, theirs = outcome.values("step alone, Native"), outcome.group("step alone, LibTorch")
    section.compare("step alone, Native against LibTorch", MILLISECONDS, ours, theirs)
    try:
        section.tables.append(roofline(context, ours))
    except Failed as failure:
        section.failures["roofline"] = str(failure)
    return section


def step(context, program):
    command = [context.lockstep.examples / program, MICRO_BATCH, STEPS]
    (result,) = run_together([command], context.machine.cpus_of(1, 1), [environment(1)])
    return Sample(median(result["milliseconds"]))


def roofline(context, milliseconds):
    """What the core can do at most, what a step asks of it, and what it gets."""
    text = convolution_rate(context)
    rows = [[f"most multiply-adds, {isa}", f"{rate} GFLOP/s"] for isa, rate in peaks(text).items()]
    rows += [
        ["memory copied by one core", f"{memory_rate() / 1e9:.1f} GB/s"],
        ["operations of a step, convolutions as direct ones", f"{TWO_BLOCK.operations(MICRO_BATCH) / 1e9:.2f} GFLOP"],
        ["values that a step at least writes and reads once", f"{TWO_BLOCK.bytes(MICRO_BATCH) / 1e6:.0f} MB"],
    ]
    if milliseconds:
        rate = TWO_BLOCK.operations(MICRO_BATCH) / median(milliseconds) / 1e6
        rows.append(["reached by the step alone", f"{rate:.0f} GFLOP/s"])
    rows += [[f"`{line}`", ""] for line in text.splitlines() if line.strip()]
    return Table(["roofline, one core", ""], rows)


def convolution_rate(context):
    program = context.lockstep.examples / "convolution_rate"
    try:
        command = ["taskset", "--cpu-list", str(context.machine.cpus[-1]), str(program)]
        return subprocess.run(command, env=environment(1), stdout=subprocess.PIPE, check=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise Failed(f"cannot run {program}: {error}") from error


def peaks(text):
    """Billions of operations a second by instruction set, of lines `avx2, 16 images; this core: 131 GFLOP/s at most`."""
    return dict(re.findall(r"^(\w+), .*?([\d.]+) GFLOP/s at most", text, re.MULTILINE))
