#!/usr/bin/env python3
"""MONAI's side of `cargo xtask bench predict`: segments one large image with its sliding-window inferer whenever it is asked to.

The same weights, tiles and overlap as ours, blended under the same Gaussian (an eighth of the tile). FOLDER holds our weights and what we
made of the image; the first pass is compared with that (blends differ where tiles lie differently, so the mean difference is limited).

The protocol is that of worker.py; the loss is the mean probability.
"""

import argparse
import pathlib
import sys
import time

import monai
import numpy as np
import torch
from monai.inferers import sliding_window_inference
from networks import UNet
from safetensors.torch import load_file
from worker import answer


def load(folder, base, layout):
    net = UNet("tutorial", base)
    missing, unexpected = net.load_state_dict(load_file(folder / "weights.safetensors"), strict=False)
    if unexpected or any(not name.endswith("num_batches_tracked") for name in missing):
        sys.exit(f"weights of another network: {missing} missing, {unexpected} unexpected")
    return net.eval().to(memory_format=layout)


def pattern(side):
    y, x = np.mgrid[0:side, 0:side].astype(np.int64)
    return (((x * x + y * y) // 97 % 256 + (x * y) // 61 % 256) // 2).astype(np.uint8)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--folder", type=pathlib.Path, required=True)
    for name in ["side", "base", "tile", "threads"]:
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--layout", choices=["contiguous", "channels_last"], required=True)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.set_num_interop_threads(1)
    layout = torch.channels_last if args.layout == "channels_last" else torch.contiguous_format
    net = load(args.folder, args.base, layout)
    image = torch.from_numpy(pattern(args.side)).float().div(255)[None, None]
    window = lambda x: torch.sigmoid(net(x.contiguous(memory_format=layout)))

    @torch.inference_mode()
    def segment():
        size = (args.tile, args.tile)
        return sliding_window_inference(image, size, 1, window, overlap=0.25, mode="gaussian", sigma_scale=0.125)

    ours = np.fromfile(args.folder / "probability.raw", "<f4").reshape(args.side, args.side)
    difference = float(np.abs(segment()[0, 0].numpy() - ours).mean())
    if difference > 0.01:
        sys.exit(f"the two do not agree: mean difference of probabilities {difference}")
    what = f"MONAI sliding window, {args.layout}, mean difference {difference:.1e}"
    versions = {"torch": torch.__version__, "monai": monai.__version__}
    answer({"ready": {"what": what, "threads": torch.get_num_threads(), "versions": versions}})
    for line in sys.stdin:
        if line.strip() != "step":
            sys.exit(f"unknown request {line!r}")
        begin = time.perf_counter()
        found = segment()
        seconds = time.perf_counter() - begin
        answer({"seconds": seconds, "loss": found.double().mean().item()})


if __name__ == "__main__":
    main()
