#!/usr/bin/env python3
"""Writes crates/unet-kernels/tests/fixtures/optimizers.txt: ten steps of PyTorch's optimizers from given gradients.

Run from the workspace root with PyTorch and schedulefree installed: python xtask/reference/optimizers.py
The committed file was made by the versions that its first line names; CPU, f32, `foreach=False`. Schedule-free AdamW is its authors'
package. Muon is PyTorch's, with its Newton-Schulz iteration in f64 instead of bf16, which leaves no digits to compare; its parameters are
matrices of `rows` rows, written row by row.

Format, one record a line: `case NAME key=value ...`, `start v ...`, then ten pairs of `grad v ...` and `param v ...`
(the parameters after the step). Values have nine significant digits, which tell any two f32 apart.
"""

import pathlib
from importlib.metadata import version

import schedulefree
import torch
from torch.optim import _muon

VALUES = 7
STEPS = 10
TARGET = pathlib.Path("crates/unet-kernels/tests/fixtures/optimizers.txt")

CASES = [
    ("rmsprop", dict(lr=1e-2, alpha=0.99, eps=1e-8, weight_decay=0.0, momentum=0.0)),
    ("rmsprop", dict(lr=1e-3, alpha=0.9, eps=1e-6, weight_decay=1e-1, momentum=0.999)),
    ("rmsprop", dict(lr=1e-2, alpha=0.5, eps=1e-3, weight_decay=0.0, momentum=0.9)),
    ("sgd", dict(lr=1e-1, momentum=0.0, weight_decay=0.0, nesterov=False)),
    ("sgd", dict(lr=1e-1, momentum=0.9, weight_decay=1e-2, nesterov=False)),
    ("sgd", dict(lr=1e-2, momentum=0.99, weight_decay=1e-2, nesterov=True)),
    ("adam", dict(lr=1e-2, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0)),
    ("adam", dict(lr=1e-3, beta1=0.8, beta2=0.99, eps=1e-6, weight_decay=1e-1)),
    ("adamw", dict(lr=1e-2, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=1e-1)),
    ("adamw", dict(lr=1e-3, beta1=0.5, beta2=0.9, eps=1e-6, weight_decay=0.0)),
    ("rmsprop", dict(lr=1e-2, alpha=0.99, eps=1e-3, weight_decay=0.0, momentum=0.0, centered=True)),
    ("rmsprop", dict(lr=1e-3, alpha=0.9, eps=1e-3, weight_decay=1e-1, momentum=0.9, centered=True)),
    ("schedule_free", dict(lr=1e-2, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0)),
    ("schedule_free", dict(lr=1e-3, beta1=0.8, beta2=0.99, eps=1e-6, weight_decay=1e-1)),
    ("muon", dict(lr=2e-2, momentum=0.95, weight_decay=0.0, nesterov=True, rows=3, columns=5)),
    ("muon", dict(lr=1e-2, momentum=0.9, weight_decay=1e-1, nesterov=False, rows=6, columns=4)),
]


def newton_schulz(grad, coefficients, steps, eps):
    """torch.optim._muon's iteration, line by line, without its cast to bf16."""
    a, b, c = coefficients
    x = grad.double()
    if grad.size(0) > grad.size(1):
        x = x.T
    x = x / x.norm().clamp(min=eps)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.T if grad.size(0) > grad.size(1) else x).float()


_muon._zeropower_via_newtonschulz = newton_schulz


def make(name, params, hyper):
    hyper = dict(hyper)
    if "beta1" in hyper:
        hyper["betas"] = (hyper.pop("beta1"), hyper.pop("beta2"))
    if name == "muon":
        return torch.optim.Muon(params, **{k: v for k, v in hyper.items() if k not in ("rows", "columns")})
    if name == "schedule_free":
        optimizer = schedulefree.AdamWScheduleFree(params, foreach=False, **hyper)
        optimizer.train()
        return optimizer
    kind = {"rmsprop": torch.optim.RMSprop, "sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    return kind[name](params, foreach=False, **hyper)


def line(word, tensor):
    return " ".join([word] + [f"{v:.9g}" for v in tensor.flatten().tolist()])


def main():
    generator = torch.Generator().manual_seed(0)
    lines = [f"# torch {torch.__version__}, schedulefree {version('schedulefree')}, xtask/reference/optimizers.py"]
    for name, hyper in CASES:
        shape = (hyper["rows"], hyper["columns"]) if name == "muon" else (VALUES,)
        param = torch.randn(shape, generator=generator)
        optimizer = make(name, [param], hyper)
        settings = " ".join(f"{k}={float(v):g}" for k, v in hyper.items())
        lines += [f"case {name} {settings}", line("start", param)]
        for _ in range(STEPS):
            # Magnitudes from 1e-4 to 10, and one gradient that is exactly zero.
            exponents = torch.randint(-4, 2, shape, generator=generator)
            grad = torch.randn(shape, generator=generator) * 10.0**exponents
            grad[2] = 0.0
            # The step may use the gradient's memory for its own ends.
            param.grad = grad.clone()
            optimizer.step()
            lines += [line("grad", grad), line("param", param)]
    TARGET.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
