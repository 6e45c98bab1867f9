#!/usr/bin/env python3
"""Writes crates/unet-model/tests/fixtures/pth/*: one small U-Net's weights in the ways in which PyTorch users save them.

Run from the workspace root with PyTorch and safetensors installed: python xtask/reference/model_pth.py
The committed files were made by torch 2.15.0. All values are multiples of 1/64 within ±1, exact in f64, f32, f16 and bf16 alike, so
that every file holds the same network: that of `expected.safetensors`.
"""

import pathlib

import torch
from safetensors.torch import save_file
from torch import nn

from model_parity import UNet

TARGET = pathlib.Path("crates/unet-model/tests/fixtures/pth")


def network():
    torch.manual_seed(1)
    model = UNet(3, 2, 2, 1, "transposed", False)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.randint(-64, 65, tensor.shape) / 64)
    return model


def strided(state):
    """Views into one storage, some of them transposed and none at its start."""
    total = sum(t.numel() for t in state.values())
    storage, at, views = torch.zeros(total + 5), 5, {}
    for name, tensor in state.items():
        view = storage[at : at + tensor.numel()].view(tensor.shape[::-1]).permute(*reversed(range(tensor.dim())))
        view.copy_(tensor)
        views[name] = view
        at += tensor.numel()
    return views


def main():
    TARGET.mkdir(parents=True, exist_ok=True)
    model = network()
    state = model.state_dict()
    floats = {n: t for n, t in state.items() if t.is_floating_point()}
    save_file({n: t.contiguous() for n, t in floats.items()}, TARGET / "expected.safetensors", metadata={"format": "pt"})
    save_file({n: t.to(torch.bfloat16) for n, t in floats.items()}, TARGET / "bf16.safetensors")

    def cast(dtype):
        return {n: t.to(dtype) if t.is_floating_point() else t for n, t in state.items()}

    # milesial's train.py adds the values of its masks.
    torch.save(state | {"mask_values": [0, 255]}, TARGET / "milesial.pth")
    torch.save(state | {"mask_values": [[0, 0, 0], [255, 0, 128]]}, TARGET / "protocol4.pth", pickle_protocol=4)
    torch.save(network().to(memory_format=torch.channels_last).state_dict(), TARGET / "channels_last.pth")
    torch.save(cast(torch.float16), TARGET / "f16.pth")
    torch.save(cast(torch.bfloat16), TARGET / "bf16.pth")
    torch.save(cast(torch.float64), TARGET / "f64.pth")
    torch.save(strided(floats), TARGET / "strided.pth")
    parallel = nn.DataParallel(network()).state_dict()
    torch.save({"epoch": 3, "loss": 0.25, "state_dict": parallel}, TARGET / "checkpoint.pth")
    torch.save({"model": dict(model.named_parameters()) | dict(model.named_buffers())}, TARGET / "parameters.pth")
    # What cannot be read, and has to be said so.
    torch.save(model, TARGET / "whole_model.pth")
    torch.save({"weights": [1, 2, 3]}, TARGET / "no_tensors.pth")


if __name__ == "__main__":
    main()
