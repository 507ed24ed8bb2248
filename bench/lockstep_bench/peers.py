"""Commands of the peers: PyTorch over gloo and TensorFlow's MultiWorkerMirroredStrategy, as their users run them."""

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path

from .contest import Sample
from .processes import environment, free_ports, run_together

PROGRAMS = Path(__file__).resolve().parent.parent / "peers"
# Peers take a number of steps: about as many as a thread does in the time, at this many images a second.
IMAGES_PER_SECOND = 400
FEWEST_STEPS = 10

# What holds a peer on a CPU with AVX-512 to AVX2: its own kernels and oneDNN's.
HELD_TO_AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "DNNL_MAX_CPU_ISA": "AVX2"}


@dataclass(frozen=True)
class Work:
    """Training of the reference's CNN on random images. `batch` is each worker's, `width` scales the filters."""

    seconds: float
    workers: int = 1
    threads: int = 1
    batch: int = 16
    layout: str = "channels_last"
    bf16: bool = False
    avx2: bool = False
    onednn: bool = True
    width: float = 1.0
    images: int = 0
    steps: int = 0

    def step_count(self):
        return self.steps or max(FEWEST_STEPS, math.ceil(self.seconds * IMAGES_PER_SECOND * self.threads / self.batch))


class Peers:
    """Both engines in their virtual environments; either may be absent."""

    def __init__(self, pytorch, tensorflow, machine):
        self.pytorch_folder, self.tensorflow_folder, self.machine = pytorch, tensorflow, machine
        self.versions = {}

    def pytorch(self, work, cpus=None):
        command = [f"{self.pytorch_folder}/bin/python", PROGRAMS / "pytorch_train.py", *common(work)]
        command += ["--layout", work.layout, "--images", work.images] + ["--bf16"] * work.bf16
        (port,) = free_ports(1)
        group = {"WORLD_SIZE": work.workers, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        ranks = [
            dict(group, RANK=rank, LOCAL_RANK=rank) if work.workers > 1 else {} for rank in range(work.workers)
        ]
        return self.run("PyTorch", work, command, ranks, cpus)

    def tensorflow(self, work, cpus=None):
        command = [f"{self.tensorflow_folder}/bin/python", PROGRAMS / "tensorflow_train.py", *common(work)]
        hosts = [f"127.0.0.1:{port}" for port in free_ports(work.workers)]
        ranks = [{"TF_ENABLE_ONEDNN_OPTS": int(work.onednn)} for _ in hosts]
        if work.workers > 1:
            for index, rank in enumerate(ranks):
                cluster = {"cluster": {"worker": hosts}, "task": {"type": "worker", "index": index}}
                rank["TF_CONFIG"] = json.dumps(cluster)
        return self.run("TensorFlow", work, command, ranks, cpus)

    def run(self, engine, work, command, ranks, cpus):
        held = HELD_TO_AVX2 if work.avx2 else {}
        variables = [
            environment(work.threads, {name: str(value) for name, value in {**held, **rank}.items()})
            for rank in ranks
        ]
        cpus = cpus or self.machine.cpus_of(work.workers, work.threads)
        results = run_together([command] * len(ranks), cpus, variables)
        first = results[0]
        self.versions[engine] = first["version"]
        return Sample(first["imagesPerSecond"] or 0.0, details(results))

    def gloo(self, processes, megabytes, repetitions):
        """Milliseconds of an all-reduce of float32 values by gloo."""
        command = [f"{self.pytorch_folder}/bin/python", PROGRAMS / "gloo_all_reduce.py"]
        return self.ring(command + ["--megabytes", megabytes, "--repetitions", repetitions], processes)

    def raw_tcp(self, processes, megabytes, repetitions):
        """Milliseconds in which plain sockets carry the bytes that no all-reduce can do without."""
        # Any Python does; this one is there.
        command = ["python3", PROGRAMS / "raw_tcp.py", "--megabytes", megabytes, "--repetitions", repetitions]
        return self.ring(command, processes)

    def ring(self, command, processes):
        ports = free_ports(processes)
        group = {"WORLD_SIZE": processes, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": ports[0]}
        group["PORTS"] = ",".join(map(str, ports))
        variables = [
            environment(1, {name: str(value) for name, value in dict(group, RANK=rank).items()})
            for rank in range(processes)
        ]
        # All on the same CPUs, as the processes that our example starts.
        everywhere = self.machine.some_cpus(processes)
        results = run_together([command] * processes, [everywhere] * processes, variables)
        return Sample(results[0]["milliseconds"])


def common(work):
    return ["--batch", work.batch, "--threads", work.threads, "--steps", work.step_count(), "--width", work.width]


def details(results):
    """The slowest first step and the largest process, CUDA's libraries taken out of the latter."""
    return {
        "firstStepSeconds": max(result["firstStepAt"] - result["startedAt"] for result in results),
        "peakBytes": max(result["peakBytes"] for result in results),
        "peakBytesWithoutCuda": max(result["peakBytes"] - result.get("cudaBytes", 0) for result in results),
    }


def layouts(work):
    """The same work in both memory layouts, by name."""
    return {layout: replace(work, layout=layout) for layout in ("channels_last", "contiguous")}
