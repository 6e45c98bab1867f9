#!/usr/bin/env python3
"""Writes crates/unet-train/tests/fixtures/optimizers.safetensors: ten steps of each optimizer as a configuration names it.

Run from the workspace root with PyTorch, schedulefree and safetensors installed: python xtask/reference/optimizer_configs.py
The committed file was made by the versions that its metadata names; CPU, f32, `foreach=False`. What optimizers.py checks rule by rule is
checked here by what a user types: `typed` of a case goes into the configuration's `[optimizer]`, and what it leaves out is PyTorch's default
here (for Muon, whose defaults are ours, what the documentation says). Muon gets the kernels of convolutions but the head's, as matrices of
their first extent by the rest, AdamW what is left. Its iteration runs in f64, as in optimizers.py.

The parameters are those of a U-Net of width 2 with one level; their names and shapes stand in the metadata, in PyTorch's order. Tensors:

    start           all parameters' values, one behind the other
    grads           the gradients of each step, (10, values)
    CASE/1, CASE/10 the parameters after the first step and after the last one
    CASE/average    the average that schedule-free AdamW evaluates and saves (its `eval()`), after the last step
"""

import json
import pathlib
from importlib.metadata import version

import model_parity
import optimizers  # runs Muon's iteration in f64 from here on
import schedulefree
import torch
from safetensors.torch import save_file

TARGET = pathlib.Path("crates/unet-train/tests/fixtures/optimizers.safetensors")
STEPS = 10
MATRICES = dict(lr=0.02, momentum=0.95, nesterov=True, weight_decay=0.01)
REST = dict(lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01)


def plain(kind, **numbers):
    return lambda params: [kind(params, foreach=False, **numbers)]


def schedule_free(**numbers):
    return plain(schedulefree.AdamWScheduleFree, **numbers)


def muon(matrices, rest):
    def make(params):
        chosen = [p for p in params if p.is_matrix]
        others = [p for p in params if not p.is_matrix]
        return [torch.optim.Muon(chosen, **matrices), torch.optim.AdamW(others, foreach=False, **rest)]

    return make


T = torch.optim
# name, what is typed, steps of warm-up, the optimizer
CASES = [
    ("rmsprop", "kind = 'rmsprop'", 0, plain(T.RMSprop)),
    (
        "rmsprop-all",
        "kind = 'rmsprop', lr = 1e-3, alpha = 0.9, eps = 1e-6, weight_decay = 0.1, momentum = 0.9",
        0,
        plain(T.RMSprop, lr=1e-3, alpha=0.9, eps=1e-6, weight_decay=0.1, momentum=0.9),
    ),
    (
        "rmsprop-centered",
        "kind = 'rmsprop', centered = true, eps = 1e-3, momentum = 0.5",
        0,
        plain(T.RMSprop, centered=True, eps=1e-3, momentum=0.5),
    ),
    ("sgd", "kind = 'sgd'", 0, plain(T.SGD)),
    ("sgd-momentum", "kind = 'sgd', momentum = 0.9", 0, plain(T.SGD, momentum=0.9)),
    (
        "sgd-nesterov",
        "kind = 'sgd', lr = 0.01, momentum = 0.9, nesterov = true, weight_decay = 0.01",
        0,
        plain(T.SGD, lr=0.01, momentum=0.9, nesterov=True, weight_decay=0.01),
    ),
    ("adam", "kind = 'adam'", 0, plain(T.Adam)),
    (
        "adam-all",
        "kind = 'adam', lr = 0.01, beta1 = 0.8, beta2 = 0.99, eps = 1e-6, weight_decay = 0.1",
        0,
        plain(T.Adam, lr=0.01, betas=(0.8, 0.99), eps=1e-6, weight_decay=0.1),
    ),
    ("adamw", "kind = 'adamw'", 0, plain(T.AdamW)),
    (
        "adamw-all",
        "kind = 'adamw', lr = 0.01, beta1 = 0.8, beta2 = 0.99, eps = 1e-6, weight_decay = 0.1",
        0,
        plain(T.AdamW, lr=0.01, betas=(0.8, 0.99), eps=1e-6, weight_decay=0.1),
    ),
    ("schedule_free", "kind = 'schedule_free'", 0, schedule_free()),
    (
        "schedule_free-all",
        "kind = 'schedule_free', lr = 0.01, beta1 = 0.8, beta2 = 0.99, eps = 1e-6, weight_decay = 0.1",
        4,
        schedule_free(lr=0.01, betas=(0.8, 0.99), eps=1e-6, weight_decay=0.1, warmup_steps=4),
    ),
    ("muon", "kind = 'muon'", 0, muon(MATRICES, REST)),
    (
        "muon-all",
        "kind = 'muon', lr = 0.01, momentum = 0.9, nesterov = false, weight_decay = 0.1, adamw_lr = 2e-3, beta1 = 0.8, beta2 = 0.99, "
        "eps = 1e-6",
        0,
        muon(
            dict(lr=0.01, momentum=0.9, nesterov=False, weight_decay=0.1),
            dict(lr=2e-3, betas=(0.8, 0.99), eps=1e-6, weight_decay=0.1),
        ),
    ),
]


def shapes():
    model = model_parity.UNet(1, 1, 2, 1, "transposed", True)
    return [(name, tuple(p.shape)) for name, p in model.named_parameters()]


def split(values, specs):
    """A vector of all values as parameters; kernels of convolutions but the head's as matrices."""
    params, at = [], 0
    for name, shape in specs:
        count = torch.Size(shape).numel()
        is_matrix = len(shape) == 4 and not name.startswith("outc.")
        param = values[at : at + count].clone().view((shape[0], -1) if is_matrix else shape)
        param.is_matrix = is_matrix
        params.append(param)
        at += count
    return params


def joined(params):
    return torch.cat([p.detach().flatten() for p in params])


def run(make, start, grads, specs):
    """The parameters after each step, and a schedule-free rule's average in the end."""
    params = split(start, specs)
    rules = make(params)
    free = [r for r in rules if hasattr(r, "eval")]
    for rule in free:
        rule.train()
    after = []
    for grad in grads:
        for param, g in zip(params, split(grad, specs)):
            param.grad = g
        for rule in rules:
            rule.step()
        after.append(joined(params))
    for rule in free:
        rule.eval()
    return after, joined(params) if free else None


def main():
    assert T._muon._zeropower_via_newtonschulz is optimizers.newton_schulz
    generator = torch.Generator().manual_seed(0)
    specs = shapes()
    values = sum(torch.Size(shape).numel() for _, shape in specs)
    start = torch.randn(values, generator=generator)
    # Magnitudes from 1e-4 to 10, and some gradients that are exactly zero.
    exponents = torch.randint(-4, 2, (STEPS, values), generator=generator)
    grads = torch.randn(STEPS, values, generator=generator) * 10.0**exponents
    grads[:, ::17] = 0.0
    tensors = {"start": start, "grads": grads}
    for name, _, _, make in CASES:
        after, average = run(make, start, grads, specs)
        tensors |= {f"{name}/1": after[0], f"{name}/{STEPS}": after[-1]}
        if average is not None:
            tensors[f"{name}/average"] = average
    about = {
        "cases": [{"name": n, "typed": typed, "warmup": warmup} for n, typed, warmup, _ in CASES],
        "made_by": f"xtask/reference/optimizer_configs.py, torch {torch.__version__}, schedulefree {version('schedulefree')}",
        "parameters": specs,
    }
    # safetensors writes several keys of metadata in an order that differs from run to run.
    save_file(tensors, TARGET, {"about": json.dumps(about)})


if __name__ == "__main__":
    main()
