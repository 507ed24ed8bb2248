"""Plain PyTorch on a checkpoint of ours: prints accuracy and mean loss on a data set of ours as JSON.

usage: evaluate_checkpoint.py MODEL.safetensors FOLDER        FOLDER holds dataset.json and TFRecord shards
Reads the shards by itself (TFRecord framing, then just enough Protobuf), so nothing of ours takes part.
"""

import glob
import json
import struct
import sys

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn


def records(path):
    with open(path, "rb") as shard:
        while header := shard.read(12):
            (length,) = struct.unpack("<Q", header[:8])
            yield shard.read(length)
            shard.read(4)


def fields(message):
    """(number, value) of every field: an int, or bytes."""
    place = 0

    def varint():
        nonlocal place
        value = shift = 0
        while True:
            byte = message[place]
            place += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while place < len(message):
        tag = varint()
        if tag & 7 == 0:
            yield tag >> 3, varint()
        else:
            assert tag & 7 == 2, "tf.train.Example has no other kind"
            length = varint()
            yield tag >> 3, message[place : place + length]
            place += length


def example(record):
    """tf.train.Example {features: {feature: [{key, value: Feature}]}}"""
    found = {}
    for _, features in fields(record):
        for _, entry in fields(features):
            entry = dict(fields(entry))
            ((kind, values),) = fields(entry[2])
            ((_, value),) = fields(values)
            # int64 lists are packed varints; labels are small.
            found[entry[1].decode()] = value if kind == 1 else (value if isinstance(value, int) else next(iter(value)))
    return found["image"], found["label"]


def main(weights, folder):
    shape = json.load(open(f"{folder}/dataset.json"))["shape"]
    height, width, channels = (shape[side] for side in ("height", "width", "channels"))
    state = load_file(weights)

    def block(i, o):
        norm = lambda: nn.BatchNorm2d(o, momentum=0.01, eps=1e-3)
        convolution = lambda i: nn.Conv2d(i, o, 3, padding=1)
        return [convolution(i), nn.ReLU(), norm(), convolution(o), nn.ReLU(), norm(), nn.MaxPool2d(2), nn.Dropout(0.25)]

    flat = 64 * (height // 4) * (width // 4)
    head = [nn.Flatten(), nn.Linear(flat, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, len(state["20.bias"]))]
    model = nn.Sequential(*block(channels, 32), *block(32, 64), *head)
    model.load_state_dict(state)
    model.eval()

    images, labels = zip(*(example(record) for shard in sorted(glob.glob(f"{folder}/*.tfrecord")) for record in records(shard)))
    pixels = np.frombuffer(b"".join(images), np.uint8).reshape(-1, height, width, channels)
    x, y = torch.from_numpy(pixels.copy()).permute(0, 3, 1, 2).float() / 255, torch.tensor(labels)
    with torch.no_grad():
        logits = model(x)
    accuracy = (logits.argmax(1) == y).double().mean().item()
    print(json.dumps({"accuracy": accuracy, "loss": nn.functional.cross_entropy(logits.double(), y).item()}))


main(*sys.argv[1:])
