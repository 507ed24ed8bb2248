"""Our train step against PyTorch's, on one thread of one machine, in turns (ABAB) so that both see the same noise.

usage: run.py --ours PROGRAM --pytorch FOLDER [--micro-batch 16] [--rounds 7] [--steps 60] [--cpu N] [--json FILE]
PROGRAM: the example `train_step` of lockstep-libtorch, built with --release. FOLDER: the environment that
`scripts/python-env.sh pytorch` prints. Prints a Markdown table; the ratio is PyTorch's median step over ours, from each
round's pair, so above 1 we are faster. Plain Python 3, no packages.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path


def processor():
    """The CPU's name and the widest vectors it has, as far as Linux tells."""
    name, flags = platform.processor() or platform.machine(), set()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                name = value.strip()
            elif key.strip() == "flags":
                flags = set(value.split())
    except OSError:
        pass
    vectors = next((text for flag, text in (("avx512f", "AVX-512"), ("avx2", "AVX2")) if flag in flags), "")
    return " ".join(filter(None, [name, vectors]))


def measure(command, environment, cpu):
    """Runs one program, held to one CPU, and gives its median step in milliseconds and all that it printed."""
    pin = (lambda: os.sched_setaffinity(0, {cpu})) if hasattr(os, "sched_setaffinity") else None
    done = subprocess.run(command, env=environment, preexec_fn=pin, stdout=subprocess.PIPE, check=True, text=True)
    result = json.loads(done.stdout.splitlines()[-1])
    return statistics.median(result["milliseconds"]), result


def spread(values, form):
    return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--ours", required=True)
    parser.add_argument("--pytorch", required=True)
    parser.add_argument("--micro-batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--cpu", type=int, default=max(getattr(os, "sched_getaffinity", lambda _: {0})(0)))
    parser.add_argument("--json")
    options = parser.parse_args()

    work = [str(options.micro_batch), str(options.steps)]
    commands = {
        "Lockstep": [options.ours, *work],
        "PyTorch": [f"{options.pytorch}/bin/python", str(Path(__file__).with_name("train_step.py")), *work],
    }
    environment = dict(os.environ, OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", CUDA_VISIBLE_DEVICES="")
    medians = {name: [] for name in commands}
    version = None
    for round_ in range(options.rounds):
        for name, command in commands.items():
            median, result = measure(command, environment, options.cpu)
            medians[name].append(median)
            version = result.get("version", version)
        pair = ", ".join(f"{name} {values[-1]:.2f} ms" for name, values in medians.items())
        print(f"round {round_ + 1} of {options.rounds}: {pair}", file=sys.stderr, flush=True)

    ratios = [theirs / ours for theirs, ours in zip(medians["PyTorch"], medians["Lockstep"])]
    cpu = processor()
    print(f"Train step of the reference's CNN, one thread, micro-batch {options.micro_batch}, on {cpu}; PyTorch {version},")
    print(f"channels_last. Medians of {options.rounds} rounds in turns, {options.steps} steps each (least to most).\n")
    print("| | ms a step | images/s |\n|---|---|---|")
    for name, values in medians.items():
        rates = [options.micro_batch / value * 1e3 for value in values]
        print(f"| {name} | {spread(values, '.2f')} | {spread(rates, '.0f')} |")
    print(f"| **ratio** | {spread(ratios, '.3f')} | |")
    if options.json:
        report = {
            "cpu": cpu,
            "pytorch": version,
            "microBatch": options.micro_batch,
            "threads": 1,
            "medianMilliseconds": medians,
            "ratios": ratios,
            "ratio": statistics.median(ratios),
        }
        Path(options.json).write_text(json.dumps(report, indent=2) + "\n")


main()
