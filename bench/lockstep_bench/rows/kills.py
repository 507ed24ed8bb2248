"""The loss of workers: `lockstep chaos` beside TorchElastic."""

import json
import os
import random
import signal
import tempfile
import time
from pathlib import Path
from statistics import median

from ..comparison import Spread
from ..contest import say
from ..peers import PROGRAMS
from ..processes import Failed, Process, children, environment, run_together
from ..section import Section, Table

EXECUTORS = 4
GLOBAL_BATCH = 128
KILLS, ELASTIC_KILLS = 100, 5
# 10,000 images.
STEPS_PER_EPOCH = 78
EPOCHS, ELASTIC_EPOCHS = 5, 4
SEED = 1
# One kill after another, when training goes on since some steps.
STEPS_BETWEEN_KILLS = 30
TIMEOUT_SECONDS = 1800
# Without it a restarted worker reads the addresses of the dead ones and gives up: pytorch/pytorch issue 135712.
OWN_STORE = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
METHOD = f"""{EXECUTORS} executors or workers with a thread each on all CPUs, global batch {GLOBAL_BATCH}, epochs of {STEPS_PER_EPOCH}
steps. Lockstep: `lockstep chaos` with {KILLS} SIGKILLs at random moments. TorchElastic: torchrun, gloo, a checkpoint after every
epoch, {ELASTIC_KILLS} SIGKILLs of a random worker, each {STEPS_BETWEEN_KILLS} steps after training went on. Time until the next
step: from the kill to the end of the first step after the newest one. Redone: steps that were done before the kill and had to be
done again."""


def measure(context):
    section = Section("The loss of workers", METHOD)
    rows = []
    for name, run in (("Lockstep", lockstep), ("TorchElastic", torch_elastic)):
        try:
            say(f"kills: {name}")
            figures = run(context)
            section.samples[name] = [figures]
            rows.append([name, *figures["row"]])
        except Failed as failure:
            section.failures[name] = str(failure)
    headers = ["", "kills", "time until the next step, s", "beside the interrupted step, ms", "steps redone", "same weights"]
    section.tables.append(Table(headers, rows))
    return section


def lockstep(context):
    job = {
        "apiVersion": "lockstep.dev/v1alpha1",
        "kind": "CnnTrainingJob",
        "metadata": {"name": "kills"},
        "spec": {
            "executors": EXECUTORS,
            "model": {"preset": "TwoBlock"},
            "data": {"training": {"uri": str(context.lockstep.data / "test")}, "validation": {"fraction": 0}},
            "training": {"epochs": EPOCHS, "globalBatchSize": GLOBAL_BATCH, "microBatchSize": 16, "seed": 42},
            "checkpoint": {"uri": "/unused", "everySteps": 1_000_000},
        },
    }
    with tempfile.TemporaryDirectory(prefix="lockstep-bench-") as folder:
        Path(folder, "job.yaml").write_text(json.dumps(job))
        command = [context.lockstep.program, "chaos", "--file", f"{folder}/job.yaml", "--threads", 1, "--json"]
        command += ["--kills", KILLS, "--seed", SEED]
        cpus, variables = set(context.machine.cpus), environment(1, {"TMPDIR": folder})
        (verdict,) = run_together([command], [cpus], [variables], TIMEOUT_SECONDS)
    pauses, whole = verdict["pausesAfterKills"], verdict["secondsUntilNextStep"]
    row = [
        f"{verdict['faults']['kills']}, {verdict['faults']['killsOfExecutor0']} of them of executor 0",
        f"{whole['median']:.2f} (nine tenths within {whole['nineTenths']:.2f})",
        f"{pauses['median']:.0f} (nine tenths within {pauses['nineTenths']:.0f})",
        str(verdict["stepsLost"]),
        "yes" if verdict["sameWeights"] else "NO",
    ]
    return dict(verdict, row=row)


def torch_elastic(context):
    with tempfile.TemporaryDirectory(prefix="lockstep-bench-") as folder:
        command = [f"{context.peers.pytorch_folder}/bin/python", "-m", "torch.distributed.run", "--standalone"]
        command += ["--nproc-per-node", EXECUTORS, "--max-restarts", 2 * ELASTIC_KILLS]
        command += [PROGRAMS / "torch_elastic_train.py", "--batch", GLOBAL_BATCH // EXECUTORS]
        command += ["--epochs", ELASTIC_EPOCHS, "--steps", STEPS_PER_EPOCH, "--checkpoint", f"{folder}/checkpoint.pt"]
        process = Process(command, set(context.machine.cpus), environment(1, OWN_STORE), folder)
        try:
            times, redone = kill_workers(process)
        finally:
            process.end()
    row = [str(len(times)), Spread.of(times).text(".1f"), "", f"{sum(redone)}, {median(redone):.0f} a kill", "not compared"]
    return {"secondsUntilNextStep": times, "redone": redone, "row": row}


def kill_workers(process):
    """Seconds until the next step, and how many were redone, of every kill."""
    chance = random.Random(SEED)
    times, redone = [], []
    seen = steps(process)
    for _ in range(ELASTIC_KILLS):
        seen = until(process, lambda: len(steps(process)) >= len(seen) + STEPS_BETWEEN_KILLS)
        newest = max(step["step"] for step in seen)
        killed_at = time.time()
        os.kill(chance.choice(children(process.child.pid)), signal.SIGKILL)
        gone_on = until(process, lambda: any(step["step"] > newest and step["at"] > killed_at for step in steps(process)))
        after = [step for step in gone_on if step["at"] > killed_at]
        first = next(step for step in after if step["step"] > newest)
        times.append(first["at"] - killed_at)
        redone.append(sum(step["step"] <= newest for step in after[: after.index(first)]))
        seen = gone_on
    return times, redone


def steps(process):
    lines = process.output.read_text(errors="replace").splitlines()
    return [json.loads(line) for line in lines if line.startswith('{"step"') and line.endswith("}")]


def until(process, holds):
    """What was printed once it holds."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not holds():
        if process.check():
            raise Failed(f"training was over before all workers were killed: {process.last_words()}")
        if time.monotonic() > deadline:
            raise Failed(f"nothing happened for {TIMEOUT_SECONDS} s: {process.last_words()}")
        time.sleep(0.05)
    return steps(process)
