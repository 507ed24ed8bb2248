"""A part of a CPU's time for a process, as a container's CPU limit gives it."""

import os
import time
from pathlib import Path

from .processes import POLL_SECONDS, Failed

ROOT = Path("/sys/fs/cgroup")
# What Kubernetes uses.
PERIOD_MICROSECONDS = 100_000
PATIENCE_SECONDS = 10


class Quota:
    """A cgroup of its own (version 1 or 2) whose processes have `share` of one CPU."""

    def __init__(self, share):
        quota = int(share * PERIOD_MICROSECONDS)
        try:
            if Path(ROOT, "cgroup.controllers").exists():
                Path(ROOT, "cgroup.subtree_control").write_text("+cpu")
                self.folder = self.create(ROOT)
                Path(self.folder, "cpu.max").write_text(f"{quota} {PERIOD_MICROSECONDS}")
            else:
                self.folder = self.create(Path(ROOT, "cpu"))
                Path(self.folder, "cpu.cfs_period_us").write_text(str(PERIOD_MICROSECONDS))
                Path(self.folder, "cpu.cfs_quota_us").write_text(str(quota))
        except OSError as error:
            raise Failed(f"cannot limit a process's CPU time: {error}") from error

    @staticmethod
    def create(parent):
        folder = Path(parent, f"lockstep-bench-{os.getpid()}")
        folder.mkdir(exist_ok=True)
        return folder

    def hold(self, pid):
        """From now on, with all its threads."""
        try:
            Path(self.folder, "cgroup.procs").write_text(str(pid))
        except ProcessLookupError:
            pass  # It has ended.

    def end(self):
        """Removes the cgroup; its processes have been killed and may take a moment to go."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return self.folder.rmdir()
            except OSError as error:
                if time.monotonic() > deadline:
                    raise Failed(f"cannot remove {self.folder}: {error}") from error
            time.sleep(POLL_SECONDS)
