"""The article's recipe in plain PyTorch on the real ISBI-2012 slices: the yardstick of `unet train --recipe tutorial --val 24..30`.

Whole 512x512 images, raw 0-255 input, one of four flips (none, rows, columns, both), batch 1, BCE with logits, RMSprop
(lr 1e-5, alpha 0.99, eps 1e-8, weight decay 1e-8, momentum 0.9), shuffled; trained on slices 0-23. Prints, per epoch, the mean
training loss, and at the end one JSON line. Where the article's code differs from its words the words are followed: its flip
call never mirrors left to right, and it keeps the weights of the lowest single-batch loss.

    python train_article.py DATA --seed 1 --epochs 4 [--threads N] [--width 64] [--init FILE]

The loss of the first epochs depends on the initial weights more than on anything else (0.38 to 0.63 in the first epoch, from
seed to seed), so a comparison begins both programs with the same ones: `cargo run -p unet-model --example fresh -- 1 64 FILE`
writes those of `unet train --seed 1`.

Written for torch 2.15.0, numpy 2.4, pillow 13, safetensors 0.8.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F


def double_conv(cin, cout):
    def layer(a, b):
        return [nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU(inplace=True)]

    return nn.Sequential(*layer(cin, cout), *layer(cout, cout))


class UNet(nn.Module):
    """Four levels, bilinear, padded: 13,394,177 parameters at width 64."""

    def __init__(self, width=64, channels=1, logits=1):
        super().__init__()
        w = width
        self.encoder = nn.ModuleList(
            double_conv(a, b) for a, b in [(channels, w), (w, 2 * w), (2 * w, 4 * w), (4 * w, 8 * w), (8 * w, 8 * w)]
        )
        self.decoder = nn.ModuleList(
            double_conv(a, b) for a, b in [(16 * w, 4 * w), (8 * w, 2 * w), (4 * w, w), (2 * w, w)]
        )
        self.head = nn.Conv2d(w, logits, 1)

    def forward(self, x):
        skips = []
        for block in self.encoder[:-1]:
            x = block(x)
            skips.append(x)
            x = F.max_pool2d(x, 2)
        x = self.encoder[-1](x)
        for block in self.decoder:
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
            x = block(torch.cat([skips.pop(), x], 1))
        return self.head(x)


def begin_with(net, path):
    """Takes over weights that are stored under the names of the article's network."""
    paths = ["inc"] + [f"down{i}.maxpool_conv.1" for i in range(1, 5)] + [f"up{i}.conv" for i in range(1, 5)]
    stored, blocks = load_file(path), [*net.encoder, *net.decoder]
    state = {f"{at}.double_conv.{k}": v for at, block in zip(paths, blocks) for k, v in block.state_dict().items()}
    state |= {f"outc.conv.{k}": v for k, v in net.head.state_dict().items()}
    for name, value in state.items():
        if not name.endswith("num_batches_tracked"):
            value.copy_(stored.pop(name))
    assert not stored, f"not this network's: {sorted(stored)}"


def read(folder, indices):
    gray = [np.asarray(Image.open(folder / f"{i}.png").convert("L"), dtype=np.float32) for i in indices]
    return torch.from_numpy(np.stack(gray))[:, None]


def flip(x, code):
    axes = [a for a, on in ((2, code & 1), (3, code & 2)) if on]
    return x.flip(axes) if axes else x


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--init", type=Path)
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    rng = np.random.default_rng(args.seed)
    images = read(args.data / "train" / "image", range(24))
    labels = (read(args.data / "train" / "label", range(24)) > 0).float()
    net = UNet(args.width)
    if args.init:
        begin_with(net, args.init)
    optimizer = torch.optim.RMSprop(net.parameters(), lr=1e-5, weight_decay=1e-8, momentum=0.9)
    means = []
    for epoch in range(args.epochs):
        start, losses = time.time(), []
        for i in rng.permutation(24):
            code = int(rng.integers(4))
            loss = F.binary_cross_entropy_with_logits(net(flip(images[i : i + 1], code)), flip(labels[i : i + 1], code))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        means.append(float(np.mean(losses)))
        print(f"epoch {epoch + 1}: loss {means[-1]:.4f} ({time.time() - start:.0f} s)", flush=True)
    print(json.dumps({"seed": args.seed, "torch": torch.__version__, "epoch_mean_losses": means}))


if __name__ == "__main__":
    main()
