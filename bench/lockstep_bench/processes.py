"""Starting programs on given CPUs, reading their last line, watching their memory, and ending them for certain."""

import json
import os
import signal
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

# Nothing measured here takes longer, the start of TensorFlow included.
TIMEOUT_SECONDS = 300
POLL_SECONDS = 0.02
LAST_WORDS = 600


class Failed(Exception):
    """A program that is missing, ended badly or said nothing that can be read."""


def environment(threads, extra=None):
    """Ours, with `threads` for every library that has threads of its own, and no accelerator."""
    base = {name: value for name, value in os.environ.items() if not name.startswith(("LOCKSTEP_", "PYTHON"))}
    base.update(
        OMP_NUM_THREADS=str(threads),
        MKL_NUM_THREADS=str(threads),
        CUDA_VISIBLE_DEVICES="-1",
        GLOO_SOCKET_IFNAME="lo",
        TF_CPP_MIN_LOG_LEVEL="3",
    )
    base.update(extra or {})
    return base


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


class Process:
    """A program in a session of its own, held to `cpus`, with its output in files of `folder`."""

    def __init__(self, command, cpus, variables, folder, name="program"):
        self.output, self.errors = Path(folder, f"{name}.out"), Path(folder, f"{name}.err")
        self.command = command
        self.started_at = time.time()
        try:
            with open(self.output, "wb") as output, open(self.errors, "wb") as errors:
                self.child = subprocess.Popen(
                    [str(part) for part in command],
                    env=variables,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=errors,
                    start_new_session=True,
                    preexec_fn=lambda: os.sched_setaffinity(0, cpus),
                )
        except OSError as error:
            raise Failed(f"cannot start {command[0]}: {error}") from error

    def end(self):
        """Kills the whole session and waits, so that the next program has the machine to itself."""
        try:
            os.killpg(self.child.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.child.wait()

    def last_words(self):
        text = self.errors.read_text(errors="replace").strip() or self.output.read_text(errors="replace").strip()
        return " ".join(text[-LAST_WORDS:].split()) or "no output"

    def check(self):
        code = self.child.poll()
        if code not in (None, 0):
            raise Failed(f"{Path(self.command[0]).name} ended with {code}: {self.last_words()}")
        return code == 0

    def result(self):
        """The JSON object that the program printed: its last line, or all of it."""
        text = self.output.read_text(errors="replace").strip()
        try:
            return json.loads(text if text.startswith("{\n") else text.splitlines()[-1])
        except (IndexError, ValueError) as error:
            raise Failed(f"{Path(self.command[0]).name} printed no JSON: {self.last_words()}") from error


def run_together(commands, cpus, variables, timeout=TIMEOUT_SECONDS):
    """Runs all commands at once, each on its CPUs with its variables; gives their results in order.

    Every result has `startedAt` (seconds since the epoch) and `peakBytes` (VmHWM) added.
    """
    with tempfile.TemporaryDirectory(prefix="lockstep-bench-") as folder:
        processes = []
        try:
            for number, (command, own, extra) in enumerate(zip(commands, cpus, variables)):
                processes.append(Process(command, own, extra, folder, f"program-{number}"))
            peaks = wait_for_all(processes, timeout)
            return [
                dict(process.result(), startedAt=process.started_at, peakBytes=peak)
                for process, peak in zip(processes, peaks)
            ]
        finally:
            for process in processes:
                process.end()


def wait_for_all(processes, timeout):
    deadline = time.monotonic() + timeout
    peaks = [0] * len(processes)
    while not all([process.check() for process in processes]):
        if time.monotonic() > deadline:
            raise Failed(f"no end after {timeout} s: {processes[0].last_words()}")
        peaks = [max(peak, peak_bytes(process.child.pid)) for peak, process in zip(peaks, processes)]
        time.sleep(POLL_SECONDS)
    return peaks


def peak_bytes(pid):
    """Most memory that the process ever had resident (VmHWM); 0 once it has ended."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    return 0


def children(pid):
    """Processes that any thread of `pid` has started."""
    found = []
    for listed in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [int(child) for child in listed.read_text().split()]
        except OSError:
            pass
    return found


def pin(pid, cpus):
    """Holds all threads of a running process to `cpus`; threads that they start later inherit it."""
    for task in Path(f"/proc/{pid}/task").glob("*"):
        try:
            os.sched_setaffinity(int(task.name), cpus)
        except OSError:
            pass


def loopback_bytes():
    """Bytes that the loopback interface has carried so far; None where Linux does not tell."""
    try:
        return int(Path("/sys/class/net/lo/statistics/rx_bytes").read_text())
    except (OSError, ValueError):
        return None


def in_threads(functions):
    """Calls all at once; gives their results in order, or raises the first failure."""
    results = [None] * len(functions)

    def call(index, function):
        try:
            results[index] = function()
        except Failed as failure:
            results[index] = failure

    threads = [threading.Thread(target=call, args=pair) for pair in enumerate(functions)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in results:
        if isinstance(result, Failed):
            raise result
    return results
