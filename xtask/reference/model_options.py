#!/usr/bin/env python3
"""Writes crates/unet-model/tests/fixtures/options-*.safetensors: what PyTorch computes for U-Nets with other layers than the plain one's.

Run from the workspace root with PyTorch, NumPy and safetensors installed: python xtask/reference/model_options.py
The files hold the same tensors as those of model_parity.py, which see; the options that a network has stand in its `config`. The committed
files were made by the versions that their metadata names (torch 2.15.0, CPU).

Norms are PyTorch's BatchNorm2d, InstanceNorm2d (affine) and GroupNorm, rectifiers its LeakyReLU. A residual block adds its input ahead of
its last rectifier, by way of a 1×1 convolution and a norm where channels differ. Dropout multiplies the bottleneck by factors that are
worked out here anew: SplitMix64's output function of the key and of each value's number in the order (N, H, W, C).
"""

import copy
import json

import model_parity as plain
import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

KEY = 7  # what dropout derives from

# name, in, out, width, depth, upsampling, bias, (height, width), options
CASES = [
    ("instance", 1, 1, 4, 2, "transposed", True, (19, 23), {"norm": "instance", "negative_slope": 0.01}),
    ("instance-relu", 1, 3, 4, 3, "bilinear", False, (33, 26), {"norm": "instance"}),
    ("group", 2, 1, 4, 2, "bilinear", True, (18, 21), {"norm": "group:2"}),
    ("none", 1, 2, 4, 2, "transposed", True, (20, 24), {"norm": "none", "dropout": 0.5}),
    ("leaky", 1, 1, 4, 2, "bilinear-wide", True, (17, 16), {"negative_slope": 0.1, "dropout": 0.25}),
    ("residual", 4, 1, 4, 2, "bilinear", False, (18, 21), {"residual": True}),
    ("residual-group", 1, 1, 4, 3, "transposed", True, (24, 17), {"residual": True, "norm": "group:2", "negative_slope": 0.2, "dropout": 0.3}),
]


def norm(kind, channels):
    if kind == "batch":
        return nn.BatchNorm2d(channels)
    if kind == "instance":
        return nn.InstanceNorm2d(channels, affine=True)
    if kind == "none":
        return nn.Identity()
    return nn.GroupNorm(int(kind.removeprefix("group:")), channels)


class Block(nn.Module):
    def __init__(self, cin, mid, cout, bias, options):
        super().__init__()
        kind, slope = options.get("norm", "batch"), options.get("negative_slope", 0.0)
        act = lambda: nn.LeakyReLU(slope)  # noqa: E731
        layers = [nn.Conv2d(cin, mid, 3, padding=1, bias=bias), norm(kind, mid), act()]
        layers += [nn.Conv2d(mid, cout, 3, padding=1, bias=bias), norm(kind, cout)]
        self.residual = options.get("residual", False)
        if self.residual and cin != cout:
            self.shortcut = nn.Sequential(nn.Conv2d(cin, cout, 1, bias=bias), norm(kind, cout))
        self.double_conv = nn.Sequential(*layers)
        self.act = act()

    def forward(self, x):
        y = self.double_conv(x)
        if self.residual:
            y = y + (self.shortcut(x) if hasattr(self, "shortcut") else x)
        return self.act(y)


def factors(rate, shape):
    """Dropout's factors of a map (N, C, H, W)."""
    n, c, h, w = shape
    i = np.arange(n * h * w * c, dtype=np.uint64)
    with np.errstate(over="ignore"):
        z = np.uint64(KEY) + (i + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    uniform = (z >> np.uint64(40)).astype(np.float32) / np.float32(1 << 24)
    kept = np.float32(1) / (np.float32(1) - np.float32(rate))
    return torch.from_numpy(np.where(uniform < np.float32(rate), np.float32(0), kept)).reshape(n, h, w, c).permute(0, 3, 1, 2)


class UNet(plain.UNet):
    """The plain network with its blocks replaced."""

    def __init__(self, cin, cout, width, depth, upsampling, bias, options):
        super().__init__(cin, cout, width, depth, upsampling, bias)
        self.rate = options.get("dropout", 0.0)
        replace = lambda b: Block(b.double_conv[0].in_channels, b.double_conv[0].out_channels, b.double_conv[3].out_channels, bias, options)  # noqa: E731
        self.inc = replace(self.inc)
        for level in range(1, depth + 1):
            down, up = getattr(self, f"down{level}"), getattr(self, f"up{level}")
            down.maxpool_conv[1] = replace(down.maxpool_conv[1])
            up.conv = replace(up.conv)

    def forward(self, x):
        skips = [self.inc(x)]
        for level in range(1, self.depth + 1):
            skips.append(getattr(self, f"down{level}")(skips[-1]))
        x = skips.pop()
        if self.training and self.rate > 0:
            x = x * factors(self.rate, x.shape).to(x.dtype)
        for number in range(1, self.depth + 1):
            x = getattr(self, f"up{number}")(x, skips.pop())
        return self.outc(x)


def uneven(model):
    """Norms as training leaves them: not the identity."""
    plain.uneven(model)
    for module in model.modules():
        if isinstance(module, (nn.InstanceNorm2d, nn.GroupNorm)):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.3)


def idle_biases(model):
    """Names of the convolution biases ahead of a norm that takes them away again."""
    norms = {name for name, module in model.named_modules() if isinstance(module, (nn.BatchNorm2d, nn.InstanceNorm2d))}
    return {f"{n.rpartition('.')[0]}.{int(n.rpartition('.')[2]) - 1}.bias" for n in norms}


def case(name, cin, cout, width, depth, upsampling, bias, size, options):
    torch.manual_seed(len(name) * 1000 + depth + 77)
    model = UNet(cin, cout, width, depth, upsampling, bias, options)
    uneven(model)
    x, target = plain.batch(cin, cout, size)
    idle = idle_biases(model)
    single_logits, single = plain.logits_and_gradients(copy.deepcopy(model), x, target, idle)
    model.double()
    start = {n: t.clone() for n, t in model.state_dict().items() if not n.endswith("num_batches_tracked")}
    out = {f"weights/{n}": t for n, t in start.items()} | {"input": x, "target": target}
    xd, td = x.double(), target.double()
    with torch.no_grad():
        out["logits_eval"] = model.eval()(xd)
    logits, double = plain.logits_and_gradients(model, xd, td, idle)
    loss = F.binary_cross_entropy_with_logits(logits, td)
    out |= {"logits_train": logits, "loss": loss.reshape(1)}
    out |= {f"grads/{n}": g for n, g in double.items()}
    out |= {f"running/{n}": t.clone() for n, t in model.state_dict().items() if "running" in n}
    config = dict(in_channels=cin, out_channels=cout, width=width, depth=depth, upsampling=upsampling, conv_bias=bias, options=options)
    facts = {"script": "xtask/reference/model_options.py", "torch": torch.__version__.partition("+")[0], "config": config}
    facts["rmsprop"] = plain.RMSPROP
    off = lambda a, b: ((a - b).norm() / b.norm()).item()  # noqa: E731
    whole = [torch.cat([g.flatten() for g in grads.values()]) for grads in (single, double)]
    facts["f32_rounding"] = {
        "logits": ((single_logits - logits).abs().max() / logits.abs().max()).item(),
        "tensor": max(off(single[n], g) for n, g in double.items()),
        "gradient": off(*whole),
    }
    print(name, facts["f32_rounding"])
    tensors = {n: t.detach().float().contiguous() for n, t in out.items()}
    save_file(tensors, plain.TARGET / f"options-{name}.safetensors", metadata={"fixture": json.dumps(facts, sort_keys=True)})


if __name__ == "__main__":
    for arguments in CASES:
        case(*arguments)
