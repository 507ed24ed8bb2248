"""The reference's CNN in plain PyTorch, with weights of ours: what a user would write to use a checkpoint.

usage: parity.py WEIGHTS IMAGES RESULTS   (safetensors files; see trainer/libtorch/tests/training/parity.rs)
Writes the logits in evaluation and, for one training batch without dropout, the loss, the gradients and the batch's
mean and biased variance at every batch norm.
"""

import sys

import torch
from safetensors.torch import load_file, save_file
from torch import nn


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
    weights, images, results = sys.argv[1:]
    torch.set_num_threads(1)
    head = [nn.Flatten(), nn.Linear(4096, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 10)]
    model = nn.Sequential(*block(3, 32), *block(32, 64), *head)
    model.load_state_dict(load_file(weights))
    images = load_file(images)
    pixels = images["pixels"].permute(0, 3, 1, 2).float() / 255
    output = {}

    model.eval()
    with torch.no_grad():
        output["logits"] = model(pixels)

    # The layout in which we compute, so that rounding puts no value on the other side of a kink (ReLU, max-pool): one
    # such value in a million changes a gradient by a hundredth.
    model = model.to(memory_format=torch.channels_last).train()
    pixels = pixels.contiguous(memory_format=torch.channels_last)
    count = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.Dropout):
            module.eval()
        elif isinstance(module, nn.BatchNorm2d):
            # The running statistics become the batch's.
            module.momentum = 1.0
            module.register_forward_hook(
                lambda _, inputs, __, name=name: count.update({name: inputs[0].numel() // inputs[0].shape[1]})
            )
    loss = nn.CrossEntropyLoss()(model(pixels), images["labels"])
    loss.backward()
    output["loss"] = loss.detach().reshape(1)
    for name, parameter in model.named_parameters():
        output[f"gradient.{name}"] = parameter.grad
    for name, values in count.items():
        module = model.get_submodule(name)
        output[f"batch.{name}.running_mean"] = module.running_mean
        # PyTorch keeps the unbiased variance.
        output[f"batch.{name}.running_var"] = module.running_var * ((values - 1) / values)
    save_file({name: tensor.contiguous() for name, tensor in output.items()}, results)


main()
