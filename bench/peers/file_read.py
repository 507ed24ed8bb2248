"""Reads every file of a folder, one after the other, and prints what that took: file_read.py FOLDER PASSES.

One pass before those that count fills the page cache.
"""

import json
import sys
import time
from pathlib import Path

BUFFER = bytearray(1 << 20)


def read(folder):
    total = 0
    for path in sorted(Path(folder).iterdir()):
        with open(path, "rb", buffering=0) as file:
            while count := file.readinto(BUFFER):
                total += count
    return total


read(sys.argv[1])
cpu, start = time.process_time(), time.perf_counter()
total = sum(read(sys.argv[1]) for _ in range(int(sys.argv[2])))
seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu
print(json.dumps({"bytes": total, "seconds": seconds, "cpuSeconds": cpu_seconds}))
