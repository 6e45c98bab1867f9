#!/usr/bin/env python3
"""Writes crates/unet-train/tests/fixtures/multi_label_losses.json: losses of classes that overlap, values and gradients by PyTorch.

Run from the workspace root with PyTorch installed: python xtask/reference/multi_label_losses.py
The committed file was made by the version that it names. A pixel has a yes or no for each class, and is ignored or weighed for all of
them alike. Each class's loss is the one for two classes of losses.py (cross-entropies are PyTorch's own), and the loss is the mean over
classes; that of binary cross-entropy is checked here against BCEWithLogitsLoss over all logits at once. In f64 with autograd.
"""

import json
import pathlib

import torch
import torch.nn.functional as F

from losses import bce, dice, dice_ce, focal, tversky

TARGET = pathlib.Path("crates/unet-train/tests/fixtures/multi_label_losses.json")
SHAPE = (2, 3, 5)  # N, H, W
CLASSES = 3
IGNORE = 255


def focal_tversky(*args, **settings):
    return tversky(*args, **settings)


def per_class(loss, x, sets, w, **settings):
    """The mean over classes of the loss for two classes of each."""
    return sum(loss(x[:, c : c + 1], sets[:, c], w, **settings) for c in range(x.shape[1])) / x.shape[1]


def cases():
    yield bce, "auto", {}
    yield bce, "bce", {"pos_weight": 2.5}
    yield focal, "focal", {"gamma": 2.0, "alpha": 0.25}
    yield focal, "focal", {"gamma": 0.5}
    for scope in ("image", "batch"):
        common = {"scope": scope, "smooth": 0.5, "background": True}
        yield dice, "dice", common
        yield dice_ce, "dice_ce", {"ce_weight": 0.5, "dice_weight": 2.0, "pos_weight": 2.0, **common}
        yield tversky, "tversky", {"alpha": 0.3, "beta": 0.7, **common}
        yield focal_tversky, "focal_tversky", {"alpha": 0.3, "beta": 0.7, "gamma": 0.75, **common}


def main():
    generator = torch.Generator().manual_seed(1)
    n, h, w = SHAPE
    found = []
    for loss, kind, settings in cases():
        logits = (3 * torch.randn(n, CLASSES, h, w, generator=generator)).double().float().double()
        sets = torch.randint(0, 2, (n, CLASSES, h, w), generator=generator)
        ignored = torch.rand(SHAPE, generator=generator) < 0.25
        given = torch.randint(0, 4, SHAPE, generator=generator).double() / 2
        for weighed in (False, True):
            for ignores in (False, True):
                weights = given if weighed else torch.ones(SHAPE).double()
                counts = torch.where(ignored, 0.0, weights) if ignores else weights
                x = logits.clone().requires_grad_()
                value = per_class(loss, x, sets, counts, **settings)
                value.backward()
                if kind == "auto":
                    every = F.binary_cross_entropy_with_logits(x, sets.double(), reduction="none") * counts[:, None]
                    assert torch.allclose(value, every.sum() / (CLASSES * counts.sum()))
                bits = sum(sets[:, c] << c for c in range(CLASSES))
                labels = torch.where(ignored, IGNORE, bits) if ignores else bits
                gradient = x.grad.permute(0, 2, 3, 1).flatten().tolist()
                found.append(
                    {
                        "config": {"kind": kind, **settings},
                        "classes": CLASSES,
                        "logits": logits.permute(0, 2, 3, 1).flatten().tolist(),
                        "labels": labels.flatten().tolist(),
                        "weights": weights.flatten().tolist() if weighed else None,
                        "value": value.item(),
                        "grad": [float(f"{g:.10g}") for g in gradient],
                    }
                )
    made_by = f"torch {torch.__version__.split('+')[0]}, xtask/reference/multi_label_losses.py"
    TARGET.write_text(json.dumps({"made_by": made_by, "shape": SHAPE, "cases": found}, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
