#!/usr/bin/env python3
"""PyTorch's side of `cargo xtask bench step`: times one training step of the article's U-Net whenever it is asked to.

The network: 1 channel in, 1 logit out, four levels, bilinear upsampling with aligned corners, batch norm, padded 3x3 convolutions (13.4 M
parameters at base 64). The step: forward, BCE-with-logits, backward, RMSprop with the article's settings. Input is raw gray 0-255.

Protocol, JSON a line: once built and warm it prints {"ready": ...}; for each line `step` on standard input it runs one step and prints
{"seconds": ..., "loss": ...}; it ends when standard input does.
"""

import argparse
import json
import platform
import sys
import time

import torch
from torch import nn
from torch.nn import functional as F


class DoubleConv(nn.Sequential):
    """(3x3 convolution, batch norm, ReLU) twice."""

    def __init__(self, channels_in, channels_out):
        layers = []
        for channels in (channels_in, channels_out):
            layers += [nn.Conv2d(channels, channels_out, 3, padding=1), nn.BatchNorm2d(channels_out), nn.ReLU(inplace=True)]
        super().__init__(*layers)


class UNet(nn.Module):
    """The article's network at any base width."""

    def __init__(self, base):
        super().__init__()
        widths = [base, 2 * base, 4 * base, 8 * base, 8 * base]
        self.inc = DoubleConv(1, base)
        self.down = nn.ModuleList(DoubleConv(a, b) for a, b in zip(widths, widths[1:]))
        self.up = nn.ModuleList(
            DoubleConv(2 * skip, out) for skip, out in zip(widths[3::-1], [4 * base, 2 * base, base, base])
        )
        self.head = nn.Conv2d(base, 1, 1)

    def forward(self, x):
        """Logits of x (N, 1, H, W), for any H and W of at least 16."""
        x = self.inc(x)
        skips = []
        for down in self.down:
            skips.append(x)
            x = down(F.max_pool2d(x, 2))
        for up in self.up:
            skip = skips.pop()
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
            dy, dx = skip.shape[2] - x.shape[2], skip.shape[3] - x.shape[3]
            if dy or dx:
                x = F.pad(x, [dx // 2, dx - dx // 2, dy // 2, dy - dy // 2])
            x = up(torch.cat([skip, x], dim=1))
        return self.head(x)


def arguments():
    """What the harness asks for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--precision", choices=["f32", "bf16"], required=True)
    parser.add_argument("--layout", choices=["contiguous", "channels_last"], required=True)
    for name in ["height", "width", "batch", "base", "threads"]:
        parser.add_argument(f"--{name}", type=int, required=True)
    return parser.parse_args()


def make_step(args):
    """A function that does one whole training step and gives its loss."""
    torch.manual_seed(0)
    layout = torch.channels_last if args.layout == "channels_last" else torch.contiguous_format
    net = UNet(args.base).to(memory_format=layout).train()
    shape = (args.batch, 1, args.height, args.width)
    image = torch.randint(0, 256, shape).float().contiguous(memory_format=layout)
    mask = torch.randint(0, 2, shape).float().contiguous(memory_format=layout)
    optimizer = torch.optim.RMSprop(net.parameters(), lr=1e-5, alpha=0.99, eps=1e-8, weight_decay=1e-8, momentum=0.9)

    def step():
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=args.precision == "bf16"):
            logits = net(image)
        loss = F.binary_cross_entropy_with_logits(logits.float(), mask)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def answer(message):
    """One line to the harness."""
    print(json.dumps(message), flush=True)


def main():
    args = arguments()
    torch.set_num_threads(args.threads)
    torch.set_num_interop_threads(1)
    step = make_step(args)
    step()
    mode = "bf16 autocast" if args.precision == "bf16" else "f32"
    versions = {"torch": torch.__version__, "python": platform.python_version()}
    ready = {"what": f"torch {mode} {args.layout}", "threads": torch.get_num_threads(), "versions": versions}
    answer({"ready": ready})
    for line in sys.stdin:
        if line.strip() != "step":
            sys.exit(f"unknown request {line!r}")
        begin = time.perf_counter()
        loss = step()
        answer({"seconds": time.perf_counter() - begin, "loss": loss})


if __name__ == "__main__":
    main()
