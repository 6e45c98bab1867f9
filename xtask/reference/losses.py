#!/usr/bin/env python3
"""Writes crates/unet-train/tests/fixtures/losses.json: values and gradients of losses, by PyTorch and by formulas in PyTorch.

Run from the workspace root with PyTorch installed: python xtask/reference/losses.py
The committed file was made by the versions that it names. Cross-entropies are PyTorch's own; focal follows
torchvision.ops.sigmoid_focal_loss, Dice MONAI's DiceLoss (smooth_nr = smooth_dr), Tversky
segmentation_models_pytorch.losses.TverskyLoss, all in f64 with autograd.
"""

import json
import pathlib

import torch
import torch.nn.functional as F

TARGET = pathlib.Path("crates/unet-train/tests/fixtures/losses.json")
SHAPE = (2, 3, 5)  # N, H, W


def reduced(per_pixel, weights):
    return (per_pixel * weights).sum() / weights.sum()


def bce(x, t, w, pos_weight=1.0):
    return reduced(
        F.binary_cross_entropy_with_logits(x[:, 0], t.double(), pos_weight=torch.tensor(pos_weight).double(), reduction="none"), w
    )


def cross_entropy(x, t, w, class_weights=None):
    c = torch.tensor(class_weights).double() if class_weights else torch.ones(x.shape[1]).double()
    return reduced(F.cross_entropy(x, t, reduction="none"), w * c[t])


def probabilities(x, t):
    """Probabilities and one-hot targets, (N, C, H, W): class 1 alone of one logit."""
    if x.shape[1] == 1:
        return torch.sigmoid(x), t[:, None].double()
    return torch.softmax(x, 1), F.one_hot(t, x.shape[1]).permute(0, 3, 1, 2).double()


def counted(x, t, background, classes):
    """Probabilities and one-hot targets of the classes that count."""
    p, y = probabilities(x, t)
    if classes:
        if x.shape[1] == 1:
            p, y = torch.cat([1 - p, p], 1), torch.cat([1 - y, y], 1)
        return p[:, classes], y[:, classes]
    if not background and x.shape[1] > 1:
        return p[:, 1:], y[:, 1:]
    return p, y


def tversky(x, t, w, alpha, beta, scope, smooth, background, gamma=1.0, classes=()):
    p, y = counted(x, t, background, classes)
    w = w[:, None]
    dims = (2, 3) if scope == "image" else (0, 2, 3)
    tp, fp, fn = (w * p * y).sum(dims), (w * p * (1 - y)).sum(dims), (w * (1 - p) * y).sum(dims)
    index = (tp + smooth) / (tp + alpha * fp + beta * fn + smooth)
    return ((1 - index) ** gamma).mean()


def dice(x, t, w, scope, smooth, background, classes=()):
    p, y = counted(x, t, background, classes)
    w = w[:, None]
    dims = (2, 3) if scope == "image" else (0, 2, 3)
    return (1 - (2 * (w * p * y).sum(dims) + smooth) / ((w * p).sum(dims) + (w * y).sum(dims) + smooth)).mean()


def focal(x, t, w, gamma, alpha=None, class_weights=None):
    if x.shape[1] == 1:
        t = t.double()
        p = torch.sigmoid(x[:, 0])
        ce = F.binary_cross_entropy_with_logits(x[:, 0], t, reduction="none")
        p_t = p * t + (1 - p) * (1 - t)
        loss = ce * (1 - p_t) ** gamma
        if alpha is not None:
            loss = (alpha * t + (1 - alpha) * (1 - t)) * loss
    else:
        ce = F.cross_entropy(x, t, reduction="none")
        loss = ce * (1 - torch.exp(-ce)) ** gamma
        if class_weights:
            loss = loss * torch.tensor(class_weights).double()[t]
    return reduced(loss, w)


def dice_ce(x, t, w, ce_weight, dice_weight, scope, smooth, background, pos_weight=1.0, class_weights=None, classes=()):
    pixels = bce(x, t, w, pos_weight) if x.shape[1] == 1 else cross_entropy(x, t, w, class_weights)
    return ce_weight * pixels + dice_weight * dice(x, t, w, scope, smooth, background, classes)


CASES = [
    (1, bce, {}),
    (1, bce, {"pos_weight": 2.5}),
    (2, cross_entropy, {}),
    (3, cross_entropy, {"class_weights": [0.5, 1.0, 4.0]}),
    (1, focal, {"gamma": 2.0, "alpha": 0.25}),
    (1, focal, {"gamma": 0.5}),
    (3, focal, {"gamma": 2.0}),
    (3, focal, {"gamma": 1.5, "class_weights": [0.5, 1.0, 4.0]}),
]
for k in (1, 3):
    for scope in ("image", "batch"):
        for background in (True, False):
            common = {"scope": scope, "smooth": 1.0, "background": background}
            CASES += [
                (k, dice, common),
                (k, tversky, {"alpha": 0.3, "beta": 0.7, **common}),
                (k, lambda *a, **n: tversky(*a, **n), {"alpha": 0.3, "beta": 0.7, "gamma": 0.75, **common}),
                (k, dice_ce, {"ce_weight": 1.0, "dice_weight": 0.5, **common}),
            ]
for k, classes in ((1, [0]), (1, [0, 1]), (3, [0, 2])):
    for scope in ("image", "batch"):
        common = {"scope": scope, "smooth": 1.0, "background": True, "classes": classes}
        CASES += [
            (k, dice, common),
            (k, tversky, {"alpha": 0.3, "beta": 0.7, **common}),
            (k, tversky, {"alpha": 0.3, "beta": 0.7, "gamma": 0.75, **common}),
            (k, dice_ce, {"ce_weight": 1.0, "dice_weight": 0.5, **({"pos_weight": 2.5} if k == 1 else {}), **common}),
        ]


def main():
    generator = torch.Generator().manual_seed(0)
    cases = []
    for k, loss, settings in CASES:
        classes = 2 if k == 1 else k
        n, h, w = SHAPE
        logits = (3 * torch.randn(n, k, h, w, generator=generator)).double().float().double()
        labels = torch.randint(0, classes, SHAPE, generator=generator)
        weights = torch.randint(0, 4, SHAPE, generator=generator).double() / 2
        for name, weight in (("none", torch.ones(SHAPE).double()), ("given", weights)):
            x = logits.clone().requires_grad_()
            value = loss(x, labels, weight, **settings)
            value.backward()
            kind = "focal_tversky" if "gamma" in settings and "beta" in settings else loss.__name__
            cases.append(
                {
                    "config": {"kind": kind, **settings},
                    "classes": classes,
                    "logits": logits.permute(0, 2, 3, 1).flatten().tolist(),
                    "labels": labels.flatten().tolist(),
                    "weights": weights.flatten().tolist() if name == "given" else None,
                    "value": value.item(),
                    "grad": [float(f"{g:.10g}") for g in x.grad.permute(0, 2, 3, 1).flatten().tolist()],
                }
            )
    made_by = f"torch {torch.__version__.split('+')[0]}, xtask/reference/losses.py"
    TARGET.write_text(json.dumps({"made_by": made_by, "shape": SHAPE, "cases": cases}, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
