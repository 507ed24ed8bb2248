"""What a train step asks of a core: operations and bytes, counted by hand from the layers' shapes."""

import time
from dataclasses import dataclass
from typing import Tuple

FLOAT_BYTES = 4


@dataclass(frozen=True)
class Convolution:
    """A 3x3 convolution with same padding of square images."""

    extent: int
    inputs: int
    outputs: int

    def operations(self):
        """Multiplications and additions of one forward pass of one image."""
        return 2 * 9 * self.extent**2 * self.inputs * self.outputs


@dataclass(frozen=True)
class Network:
    """`dense`: (inputs, outputs) of each dense layer. `parameters`: trained values."""

    convolutions: Tuple[Convolution, ...]
    dense: Tuple[Tuple[int, int], ...]
    parameters: int

    def operations(self, images):
        """Of forward and backward; images need no gradient, so the first layer has two passes and the others three."""
        first, *others = self.convolutions
        convolutions = 2 * first.operations() + 3 * sum(one.operations() for one in others)
        return images * (convolutions + 3 * sum(2 * inputs * outputs for inputs, outputs in self.dense))

    def bytes(self, images):
        """Written once and read once, forward and again backward: every convolution's output, then its gradient; and
        weights, gradients and Adam's two moments read and written once."""
        outputs = sum(one.extent**2 * one.outputs for one in self.convolutions)
        return FLOAT_BYTES * (4 * images * outputs + 8 * self.parameters)


TWO_BLOCK = Network(
    convolutions=(Convolution(32, 3, 32), Convolution(32, 32, 32), Convolution(16, 32, 64), Convolution(16, 64, 64)),
    dense=((4096, 128), (128, 10)),
    parameters=591_658,
)


def memory_rate(megabytes=256, repetitions=5):
    """Bytes a second that this process copies in memory, read and written bytes both counted."""
    source = memoryview(bytearray(megabytes << 20))
    target = memoryview(bytearray(megabytes << 20))
    best = float("inf")
    for _ in range(1 + repetitions):
        start = time.perf_counter()
        target[:] = source
        best = min(best, time.perf_counter() - start)
    return 2 * len(source) / best
