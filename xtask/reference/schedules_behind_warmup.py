#!/usr/bin/env python3
"""Writes crates/unet-train/tests/fixtures/schedules.json: PyTorch's SequentialLR of a linear warm-up and each schedule, step by step.

Run from the workspace root with PyTorch installed: python xtask/reference/schedules_behind_warmup.py
The committed file was made by the version that it names.

A case has what a user types into `[schedule]`, the length of the run and of its epochs in steps, the warm-up, and the learning rate of every
step where the optimizer's is 1. The first of `warmup` steps has `from + (1 - from)/warmup`, the last one 1: LinearLR over one step less. A
schedule by step is stepped with every step; one by epoch, from the warm-up's end on, with every so many steps as an epoch has.
"""

import json
import math
import pathlib

import torch
from torch.optim import lr_scheduler as L

TARGET = pathlib.Path("crates/unet-train/tests/fixtures/schedules.json")
STEPS, PER_EPOCH = 40, 4

# What is typed, whether it goes by epoch, PyTorch's schedule of so many of its units.
SCHEDULES = [
    ("kind = 'constant'", False, lambda o, total: L.LambdaLR(o, lambda _: 1.0)),
    ("kind = 'one_cycle'", False, lambda o, total: L.OneCycleLR(o, max_lr=1.0, total_steps=total, cycle_momentum=False)),
]
for by, epochs in (("step", False), ("epoch", True)):
    SCHEDULES += [
        (f"kind = 'step', every = 3, gamma = 0.5, by = '{by}'", epochs, lambda o, total: L.StepLR(o, 3, 0.5)),
        (f"kind = 'cosine', end = 0.1, by = '{by}'", epochs, lambda o, total: L.CosineAnnealingLR(o, total, 0.1)),
        (f"kind = 'poly', by = '{by}'", epochs, lambda o, total: L.PolynomialLR(o, total, 0.9)),
    ]
# Steps and the factor that it rises from: two epochs, and an epoch and a half.
WARMUPS = [(8, 0.0), (6, 0.25)]


def optimizer():
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)


def sequence(make, total, warmup, start):
    """The optimizer, and its schedule: `warmup` units of a rise to 1, then `total` of what `make` gives."""
    o = optimizer()
    group = o.param_groups[0]
    after = make(o, total)
    # OneCycleLR keeps its own first rate where the others look for the optimizer's.
    first, group["initial_lr"], group["lr"] = group["initial_lr"], 1.0, 1.0
    both = L.SequentialLR(o, [L.LinearLR(o, start, 1.0, warmup - 1), after], [warmup])
    group["initial_lr"] = first
    return o, both


def rates(make, by_epoch, warmup, start):
    unit = PER_EPOCH if by_epoch else 1
    total = math.ceil((STEPS - warmup) / unit)
    o, schedule = sequence(make, total, warmup, start + (1 - start) / warmup)
    found = []
    for step in range(STEPS):
        found.append(o.param_groups[0]["lr"])
        o.step()
        if step + 1 <= warmup or (step + 1 - warmup) % unit == 0:
            schedule.step()
    return found


def stepped_by_epoch(make, warmup):
    """The rates of the epochs behind the warm-up where everything, the warm-up too, is stepped once an epoch."""
    o, schedule = sequence(make, STEPS // PER_EPOCH - warmup, warmup, 0.5)
    found = []
    for _ in range(STEPS // PER_EPOCH):
        found.append(o.param_groups[0]["lr"])
        o.step()
        schedule.step()
    return found[warmup:]


def main():
    cases = []
    for typed, by_epoch, make in SCHEDULES:
        for warmup, start in WARMUPS:
            found = rates(make, by_epoch, warmup, start)
            cases.append({"typed": typed, "warmup": warmup, "from": start, "rates": found})
            if by_epoch and warmup % PER_EPOCH == 0:
                epochs = stepped_by_epoch(make, warmup // PER_EPOCH)
                pairs = zip(found[warmup:], [r for r in epochs for _ in range(PER_EPOCH)])
                assert all(abs(a - b) < 1e-12 for a, b in pairs), typed
    about = f"xtask/reference/schedules_behind_warmup.py, torch {torch.__version__}"
    lines = ",\n".join(json.dumps(case) for case in cases)
    TARGET.write_text(f'{{"made_by": "{about}", "steps": {STEPS}, "per_epoch": {PER_EPOCH}, "cases": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
