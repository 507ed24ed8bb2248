"""Trains the reference's CNN on random images in PyTorch; over gloo as one rank of WORLD_SIZE where that is set.

Prints one line of JSON: images/s of all ranks together, when the first step was done, and how much memory CUDA's
libraries take, which PyPI's only build for Linux loads for nothing.
"""

import argparse
import json
import os
import time

import torch
import torch.distributed as dist
from torch import nn

WARM_UP = 10


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--layout", choices=["channels_last", "contiguous"], default="channels_last")
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--images", type=int, default=0, help="hold so many images as bytes and train on all in turn")
    return parser.parse_args()


def convolution(channels, filters):
    return [nn.Conv2d(channels, filters, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(filters, momentum=0.01, eps=1e-3)]


def two_block(width):
    layers, channels = [], 3
    for filters in (round(32 * width), round(64 * width)):
        layers += convolution(channels, filters) + convolution(filters, filters)
        layers += [nn.MaxPool2d(2), nn.Dropout(0.25)]
        channels = filters
    head = [nn.Linear(channels * 8 * 8, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 10)]
    return nn.Sequential(*layers, nn.Flatten(), *head)


class Trainer:
    def __init__(self, options):
        self.bf16 = options.bf16
        self.layout = getattr(torch, options.layout + ("_format" if options.layout == "contiguous" else ""))
        self.model = two_block(options.width).to(memory_format=self.layout)
        self.world = int(os.environ.get("WORLD_SIZE", "1"))
        if self.world > 1:
            dist.init_process_group("gloo")
            self.model = nn.parallel.DistributedDataParallel(self.model)
        self.optimizer = torch.optim.Adam(self.model.parameters(), 1e-3)
        self.loss = nn.CrossEntropyLoss()
        self.batches = batches(options, self.layout)

    def step(self):
        images, labels = next(self.batches)
        self.optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            loss = self.loss(self.model(images), labels)
        loss.backward()
        self.optimizer.step()


def batches(options, layout):
    """One batch again and again; with --images, batches of a set that is held as bytes."""
    if not options.images:
        images = torch.rand(options.batch, 3, 32, 32).to(memory_format=layout)
        labels = torch.randint(0, 10, (options.batch,))
        while True:
            yield images, labels
    pixels = torch.randint(0, 256, (options.images, 3, 32, 32), dtype=torch.uint8)
    labels = torch.randint(0, 10, (options.images,))
    while True:
        for chosen in torch.randperm(options.images).split(options.batch):
            yield (pixels[chosen].float() / 255).to(memory_format=layout), labels[chosen]


def cuda_bytes():
    """Resident bytes of the libraries that a build for CPUs alone would not have."""
    total, counts = 0, False
    with open("/proc/self/smaps", encoding="utf-8") as maps:
        for line in maps:
            words = line.split()
            if not words[0].endswith(":"):
                path = words[5] if len(words) > 5 else ""
                counts = "/nvidia/" in path or "_cuda" in path or "_nvshmem" in path
            elif counts and words[0] == "Rss:":
                total += int(words[1]) * 1024
    return total


def main():
    options = arguments()
    torch.set_num_threads(options.threads)
    torch.manual_seed(42)
    trainer = Trainer(options)
    trainer.step()
    first_step_at = time.time()
    images_per_second = None
    if options.steps > 1:
        for _ in range(WARM_UP - 1):
            trainer.step()
        start = time.perf_counter()
        for _ in range(options.steps):
            trainer.step()
        images_per_second = options.steps * options.batch * trainer.world / (time.perf_counter() - start)
    result = {"imagesPerSecond": images_per_second, "firstStepAt": first_step_at, "cudaBytes": cuda_bytes()}
    print(json.dumps(dict(result, version=torch.__version__)), flush=True)
    if trainer.world > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
