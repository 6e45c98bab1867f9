#!/usr/bin/env python3
"""scikit-image's side of `cargo xtask bench scores`: V_rand and V_info of the same stack at the same thresholds, a process for each thread.

Protocol as in torch_step.py; the loss is 1 - V_rand. Ours computes warping errors too, which have no counterpart here.
"""

import argparse
import json
import pathlib
import platform
import sys
import time
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import skimage

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent))
from challenge import sweep

SIDE = 512


def answer(message):
    print(json.dumps(message), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--folder", type=pathlib.Path, required=True)
    parser.add_argument("--threads", type=int, required=True)
    args = parser.parse_args()
    truths = np.fromfile(args.folder / "truth.raw", np.uint8).reshape(-1, SIDE, SIDE) > 0
    values = np.fromfile(args.folder / "probability.raw", "<f4").reshape(-1, SIDE, SIDE)
    with ProcessPoolExecutor(args.threads) as pool:
        list(pool.map(sweep, truths[: args.threads], values[: args.threads]))
        versions = {"scikit-image": skimage.__version__, "python": platform.python_version()}
        answer({"ready": {"what": "scikit-image, without warping", "threads": args.threads, "versions": versions}})
        for line in sys.stdin:
            if line.strip() != "step":
                sys.exit(f"unknown request {line!r}")
            begin = time.perf_counter()
            rows = np.array(list(pool.map(sweep, truths, values)))
            best = rows[:, :, 0].mean(0).max()
            answer({"seconds": time.perf_counter() - begin, "loss": 1 - best})


if __name__ == "__main__":
    main()
