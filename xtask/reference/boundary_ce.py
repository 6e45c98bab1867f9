#!/usr/bin/env python3
"""Writes crates/unet-train/tests/fixtures/boundary_ce.json: the U-Net paper's weighted cross-entropy (Ronneberger et al. 2015, eq. 1 and 2).

Run from the workspace root with PyTorch and SciPy installed: python xtask/reference/boundary_ce.py
The weight map w = w_c + w0 exp(-(d1 + d2)^2 / 2 sigma^2) is made here of SciPy's exact distance transforms of each cell, w_c balances the
classes, and the second term is 0 inside of cells, as in the authors' maps. The loss is PyTorch's cross-entropy of each pixel times w,
divided by the sum of w, in f64 with autograd: for two logits a pixel, and for the one whose sigmoid is P(class 1).
"""

import json
import pathlib

import numpy as np
import scipy
import torch
import torch.nn.functional as F
from scipy import ndimage

TARGET = pathlib.Path("crates/unet-train/tests/fixtures/boundary_ce.json")
H, W, W0, SIGMA = 25, 31, 10.0, 5.0


def cells():
    labels = np.zeros((H, W), np.uint8)
    yy, xx = np.mgrid[0:H, 0:W]
    for y, x, r in ((6, 7, 6), (8, 20, 6), (18, 12, 5), (19, 25, 5)):
        labels[(yy - y) ** 2 + (xx - x) ** 2 < r * r] = 1
    labels[:, 14] = 0  # a straight gap of one pixel
    return labels


def weight_map(labels):
    found, n = ndimage.label(labels)  # 4-connected
    assert n == 5, n
    distances = np.sort(np.stack([ndimage.distance_transform_edt(found != k) for k in range(1, n + 1)]), 0)
    share = labels.mean()
    balance = np.where(labels == 1, 1 / (2 * share), 1 / (2 * (1 - share)))
    border = W0 * np.exp(-((distances[0] + distances[1]) ** 2) / (2 * SIGMA**2))
    return balance + np.where(labels == 0, border, 0.0)


def main():
    labels = cells()
    weights = torch.from_numpy(weight_map(labels))
    target = torch.from_numpy(labels).long()
    generator = torch.Generator().manual_seed(5)
    cases = []
    for k in (1, 2):
        x = (3 * torch.randn(k, H, W, generator=generator)).double().float().double().requires_grad_()
        if k == 1:
            loss = F.binary_cross_entropy_with_logits(x[0], target.double(), reduction="none")
        else:
            loss = F.cross_entropy(x[None], target[None], reduction="none")[0]
        value = (loss * weights).sum() / weights.sum()
        value.backward()
        last = lambda t: [float(f"{v:.10g}") for v in t.permute(1, 2, 0).flatten().tolist()]  # noqa: E731
        cases.append({"kind": "bce" if k == 1 else "cross_entropy", "logits": last(x.detach()), "value": value.item(), "grad": last(x.grad)})
    versions = f"torch {torch.__version__.split('+')[0]}, numpy {np.__version__}, scipy {scipy.__version__}"
    made = {
        "made_by": f"{versions}, xtask/reference/boundary_ce.py",
        "height": H,
        "width": W,
        "w0": W0,
        "sigma": SIGMA,
        "labels": labels.flatten().tolist(),
        "weights": [float(f"{v:.10g}") for v in weights.flatten().tolist()],
        "cases": cases,
    }
    TARGET.write_text(json.dumps(made, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
