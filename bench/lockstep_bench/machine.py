"""The machine that the figures are of."""

import os
import platform
from pathlib import Path

VECTORS = ("avx2", "fma", "avx512f", "avx512_bf16", "avx512_vnni", "amx_tile", "amx_bf16", "asimd", "sve")


def cpu_facts():
    """Model name and flags of the first CPU, as far as Linux tells."""
    name, flags = platform.processor() or platform.machine(), set()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                name = value.strip()
            elif key.strip() in ("flags", "Features"):
                flags = set(value.split())
    except OSError:
        pass
    return name, flags


class Machine:
    def __init__(self):
        self.cpu, flags = cpu_facts()
        self.instruction_sets = [vectors for vectors in VECTORS if vectors in flags]
        self.cpus = sorted(os.sched_getaffinity(0))
        self.kernel = f"{platform.system()} {platform.release().partition('-')[0]}"
        self.memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")

    def has(self, instruction_set):
        return instruction_set in self.instruction_sets

    def isas(self):
        """Lockstep's instruction sets that this CPU has, fastest first; the portable one is not worth a race."""
        return [name for name, flag in (("avx512", "avx512f"), ("avx2", "avx2")) if self.has(flag)]

    def some_cpus(self, count):
        """`count` CPUs; the last ones, since interrupts prefer the first. All where there are fewer."""
        return set(self.cpus[-count:])

    def cpus_of(self, processes, threads):
        """The CPUs of each of `processes` with `threads` each: own ones where they suffice, else all shared."""
        if processes * threads > len(self.cpus):
            return [set(self.cpus)] * processes
        chosen = self.cpus[-processes * threads :]
        return [set(chosen[number * threads : (number + 1) * threads]) for number in range(processes)]

    def json(self):
        return {
            "cpu": self.cpu,
            "cpus": len(self.cpus),
            "instructionSets": self.instruction_sets,
            "kernel": self.kernel,
            "memoryBytes": self.memory_bytes,
            "loadBefore": os.getloadavg()[0],
        }
