"""Times whole train steps of the reference's CNN in PyTorch: one thread, channels_last, Adam. Our peer.

usage: train_step.py MICRO_BATCH STEPS
Prints one line of JSON: the milliseconds of every step after ten steps of warm-up. Needs the environment of
tests/python/pytorch.requirements.txt; `run.py` runs it in turns with ours.
"""

import json
import sys
import time

import torch
from torch import nn

WARM_UP = 10


def block(channels, filters):
    layers = []
    for channels in (channels, filters):
        layers += [
            nn.Conv2d(channels, filters, 3, padding=1),
            nn.ReLU(),
            nn.BatchNorm2d(filters, momentum=0.01, eps=1e-3),
        ]
    return layers + [nn.MaxPool2d(2), nn.Dropout(0.25)]


def main():
    micro_batch, steps = map(int, sys.argv[1:])
    torch.set_num_threads(1)
    torch.manual_seed(42)
    head = [nn.Flatten(), nn.Linear(4096, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 10)]
    model = nn.Sequential(*block(3, 32), *block(32, 64), *head).to(memory_format=torch.channels_last)
    images = torch.rand(micro_batch, 3, 32, 32).to(memory_format=torch.channels_last)
    labels = torch.randint(0, 10, (micro_batch,))
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    loss_function = nn.CrossEntropyLoss()
    milliseconds = []
    for step in range(WARM_UP + steps):
        start = time.perf_counter()
        optimizer.zero_grad()
        loss = loss_function(model(images), labels)
        loss.backward()
        optimizer.step()
        if step >= WARM_UP:
            milliseconds.append((time.perf_counter() - start) * 1e3)
    print(json.dumps({"milliseconds": milliseconds, "version": torch.__version__}))


main()
