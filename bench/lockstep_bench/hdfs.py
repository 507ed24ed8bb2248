"""A real HDFS on this machine, by the tests' program `hdfs`, and Hadoop's own client of it."""

import os
import subprocess
from pathlib import Path

from .contest import Sample
from .peers import PROGRAMS
from .processes import Failed, environment, run_together

DATA = "/data"


class Hdfs:
    """Is up within `with`, and holds the data set in `DATA`."""

    def __init__(self, program, jars, data, machine):
        self.program, self.jars, self.data, self.machine = program, jars, data, machine
        # Its folder is in the tests' cache, which `environment` keeps from what is measured.
        self.variables = dict(os.environ, LOCKSTEP_HADOOP=str(jars))
        self.uri = self.configuration = None

    def __enter__(self):
        said = self.call("up").splitlines()
        self.uri = said[0].removeprefix("# ")
        self.configuration = Path(said[1].removeprefix("export HADOOP_CONF_DIR="))
        try:
            # By Hadoop's own client: what it wrote we read.
            self.call("shell", "dfs", "-put", self.data, DATA)
        except Failed:
            self.call("down")
            raise
        return self

    def __exit__(self, *_):
        self.call("down")

    def call(self, *words):
        command = [str(word) for word in (self.program, *words)]
        try:
            asked = subprocess.run(command, env=self.variables, capture_output=True, text=True, check=False)
        except OSError as error:
            raise Failed(f"cannot start {self.program}: {error}") from error
        if asked.returncode:
            raise Failed(f"hdfs {' '.join(command[1:])}: {asked.stderr[-600:]}")
        return asked.stdout

    def environment(self):
        """What our programs need to find it."""
        return {"HADOOP_CONF_DIR": str(self.configuration)}

    def read_by_hadoop(self, folder, passes, streams):
        """All files of a folder, by Hadoop's client, as its defaults are."""
        classes = f"{self.configuration}:{self.jars}/*"
        command = ["java", "-cp", classes, PROGRAMS / "HdfsRead.java", f"{self.uri}{folder}", passes, streams]
        return scan(command, self.machine, environment(1))


def scan(command, machine, variables):
    """MiB/s of a program that reads everything, and the CPU seconds that it takes for a GiB."""
    (result,) = run_together([command], [set(machine.cpus)], [variables])
    mebibytes = result["bytes"] / 2**20
    return Sample(mebibytes / result["seconds"], {"cpuSecondsPerGib": result["cpuSeconds"] / mebibytes * 1024})
