"""The command: measures all rows, one after the other, and writes the report."""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

from . import report
from .contest import say
from .context import Context
from .lockstep import Lockstep
from .machine import Machine
from .peers import Peers
from .processes import Failed
from .section import Section

ROWS = ["train_step", "executors", "threads", "all_reduce", "start", "memory", "image"]
ROWS += ["kernels", "growth", "straggler", "kills", "storage", "data"]
QUICK_ROWS = ["train_step", "executors", "all_reduce"]
FULL = {"rounds": 5, "seconds": 5.0}
QUICK = {"rounds": 2, "seconds": 2.0}


def arguments():
    parser = argparse.ArgumentParser(prog="lockstep_bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"only {', '.join(QUICK_ROWS)}, in short rounds")
    parser.add_argument("--only", metavar="ROWS", help=f"of {','.join(ROWS)}")
    parser.add_argument("--rounds", type=int, help=f"default {FULL['rounds']}, quick {QUICK['rounds']}")
    parser.add_argument("--seconds", type=float, help=f"a run; default {FULL['seconds']}, quick {QUICK['seconds']}")
    parser.add_argument("--program", type=Path, required=True, help="lockstep")
    parser.add_argument("--examples", type=Path, required=True, help="the folder of the built examples")
    parser.add_argument("--data", type=Path, required=True, help="a prepared data set of 32x32x3 images")
    parser.add_argument("--pytorch", type=Path, required=True, help="a virtual environment")
    parser.add_argument("--tensorflow", type=Path, required=True, help="a virtual environment")
    parser.add_argument("--hdfs", type=Path, required=True, help="the tests' program hdfs")
    parser.add_argument("--hadoop", type=Path, required=True, help="the folder of Hadoop's jars")
    parser.add_argument("--spark", type=Path, required=True, help="a virtual environment with PySpark")
    parser.add_argument("--cache", type=Path, required=True, help="where images.sh keeps its base image")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--markdown", type=Path, metavar="FILE")
    return parser.parse_args()


def main():
    # As an exception, so that programs that were started are ended and folders and cgroups removed.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    options = arguments()
    settings = dict(QUICK if options.quick else FULL)
    settings.update({name: given for name in settings if (given := getattr(options, name)) is not None})
    rows = options.only.split(",") if options.only else QUICK_ROWS if options.quick else ROWS
    machine = Machine()
    facts = machine.json()
    context = Context(
        repository=Path(__file__).resolve().parents[2],
        machine=machine,
        lockstep=Lockstep(options.program, options.examples, options.data.resolve(), machine),
        peers=Peers(options.pytorch, options.tensorflow, machine),
        quick=options.quick,
        cache=options.cache,
        hdfs=options.hdfs,
        hadoop=options.hadoop,
        spark=options.spark,
        **settings,
    )
    started = time.monotonic()
    sections = []
    for row in rows:
        say(f"== {row}")
        sections.append(measure(row, context))
        # Written after every row: a long run that is interrupted keeps what it has.
        settings["minutes"] = round((time.monotonic() - started) / 60, 1)
        write(options, facts, versions(context), sections, settings)
    if not options.markdown:
        print(report.markdown(facts, versions(context), sections, settings))
    failures = [f"{section.title}, {name}" for section in sections for name in section.failures]
    for failure in failures:
        say(f"failed: {failure}")
    sys.exit(1 if failures else 0)


def measure(row, context):
    try:
        return import_module(f".rows.{row}", __package__).measure(context)
    except Failed as failure:
        return Section(row, "", failures={row: str(failure)})


def versions(context):
    asked = subprocess.run([context.lockstep.program, "--version"], stdout=subprocess.PIPE, text=True, check=False)
    commit = subprocess.run(
        ["git", "-C", context.repository, "describe", "--always", "--dirty"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=False,
    )
    return {"Lockstep": " ".join([*asked.stdout.split()[1:], commit.stdout.strip()]), **context.peers.versions}


def write(options, facts, version, sections, settings):
    if options.json:
        whole = report.as_json(facts, version, sections, settings)
        replace(options.json, json.dumps(whole, indent=2, default=str) + "\n")
    if options.markdown:
        replace(options.markdown, report.markdown(facts, version, sections, settings))


def replace(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".new")
    temporary.write_text(text)
    os.replace(temporary, path)


main()
