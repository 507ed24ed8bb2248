"""Sums float32 values of all ranks with gloo, as PyTorch's users do. Prints the median milliseconds of a sum."""

import argparse
import json
import statistics
import time

import torch
import torch.distributed as dist


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=float, required=True)
    parser.add_argument("--repetitions", type=int, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    values = torch.ones(int(options.megabytes * 1e6 / 4))
    milliseconds = []
    for _ in range(2 + options.repetitions):
        values.fill_(1.0)
        dist.barrier()
        start = time.perf_counter()
        dist.all_reduce(values)
        milliseconds.append((time.perf_counter() - start) * 1e3)
    if values[-1] != dist.get_world_size():
        raise SystemExit(f"a sum of ones is {values[-1]}")
    print(json.dumps({"milliseconds": statistics.median(milliseconds[2:]), "version": torch.__version__}), flush=True)
    dist.destroy_process_group()


main()
