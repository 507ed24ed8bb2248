"""Trains the reference's CNN under torchrun, as PyTorch's users do who want to survive the loss of a worker: DistributedDataParallel
over gloo, a checkpoint after every epoch, and a start from the newest one.

Rank 0 prints a line of JSON after every step: its number, and when it was done (seconds since the epoch). Source of the pattern:
pytorch.org, tutorial "Fault-tolerant Distributed Training with torchrun".
"""

import argparse
import json
import os
import time

import torch
import torch.distributed as dist
from torch import nn

from pytorch_train import two_block


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, required=True, help="images a worker and step")
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--steps", type=int, required=True, help="of an epoch")
    parser.add_argument("--checkpoint", required=True)
    return parser.parse_args()


def main():
    options = arguments()
    torch.set_num_threads(1)
    torch.manual_seed(42)
    dist.init_process_group("gloo")
    model = two_block(1.0).to(memory_format=torch.channels_last)
    network = nn.parallel.DistributedDataParallel(model)
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    loss = nn.CrossEntropyLoss()
    images = torch.rand(options.batch, 3, 32, 32).to(memory_format=torch.channels_last)
    labels = torch.randint(0, 10, (options.batch,))
    first = 0
    if os.path.exists(options.checkpoint):
        state = torch.load(options.checkpoint)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        first = state["epoch"]
    for epoch in range(first, options.epochs):
        for step in range(options.steps):
            optimizer.zero_grad()
            loss(network(images), labels).backward()
            optimizer.step()
            if dist.get_rank() == 0:
                print(json.dumps({"step": epoch * options.steps + step + 1, "at": time.time()}), flush=True)
        if dist.get_rank() == 0:
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch + 1}
            torch.save(state, options.checkpoint + ".new")
            os.replace(options.checkpoint + ".new", options.checkpoint)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
