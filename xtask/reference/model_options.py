#!/usr/bin/env python3
"""Writes crates/unet-model/tests/fixtures/options-*.safetensors: what PyTorch computes for U-Nets with other layers than the plain one's.

Run from the workspace root with PyTorch, NumPy and safetensors installed: python xtask/reference/model_options.py
The files hold the same tensors as those of model_parity.py, which see; the options that a network has stand in its `config`. The committed
files were made by the versions that their metadata names (torch 2.15.0, CPU).

Norms are PyTorch's BatchNorm2d, InstanceNorm2d (affine) and GroupNorm, rectifiers its LeakyReLU. A residual block adds its input ahead of
its last rectifier, by way of a 1×1 convolution and a norm where channels differ. Without padding (`valid`) the skip connections are cropped to what they meet. With deep supervision the loss is the weighted mean over the decoder's levels
but the lowest, as nnU-Net weighs them, the labels taken at their size as its torch transforms do (`nearest-exact`). Affinities have a head beside the last
one, whose loss, here of the first class's labels for each of them, is added. Dropout multiplies the bottleneck by factors that are
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

NNUNET = {"norm": "instance", "negative_slope": 0.01, "strided": True, "max_width": 16, "deep_supervision": True}

# name, in, out, width, depth, upsampling, bias, (height, width), options
CASES = [
    ("instance", 1, 1, 4, 2, "transposed", True, (19, 23), {"norm": "instance", "negative_slope": 0.01}),
    ("instance-relu", 1, 3, 4, 3, "bilinear", False, (33, 26), {"norm": "instance"}),
    ("group", 2, 1, 4, 2, "bilinear", True, (18, 21), {"norm": "group:2"}),
    ("none", 1, 2, 4, 2, "transposed", True, (20, 24), {"norm": "none", "dropout": 0.5}),
    ("leaky", 1, 1, 4, 2, "bilinear-wide", True, (17, 16), {"negative_slope": 0.1, "dropout": 0.25}),
    ("residual", 4, 1, 4, 2, "bilinear", False, (18, 21), {"residual": True}),
    ("residual-group", 1, 1, 4, 3, "transposed", True, (24, 17), {"residual": True, "norm": "group:2", "negative_slope": 0.2, "dropout": 0.3}),
    ("strided", 1, 1, 4, 2, "transposed", True, (24, 28), {"strided": True, "max_width": 8}),
    ("nnunet", 2, 1, 4, 4, "transposed", True, (32, 48), NNUNET),
    ("deep", 1, 2, 4, 3, "bilinear", False, (24, 40), {"deep_supervision": True}),
    ("affinities", 1, 2, 4, 3, "bilinear", False, (24, 40), {"deep_supervision": True, "affinities": 8}),
    ("valid", 1, 1, 4, 2, "transposed", True, (44, 52), {"valid": True, "norm": "none", "dropout": 0.5}),
    ("valid-batch", 2, 1, 4, 2, "bilinear", False, (48, 44), {"valid": True}),
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
        padding = 0 if options.get("valid", False) else 1
        layers = [nn.Conv2d(cin, mid, 3, padding=padding, bias=bias), norm(kind, mid), act()]
        layers += [nn.Conv2d(mid, cout, 3, padding=padding, bias=bias), norm(kind, cout)]
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


def cropped(x, height, width):
    top, left = (x.shape[2] - height) // 2, (x.shape[3] - width) // 2
    return x[:, :, top : top + height, left : left + width]


class UNet(nn.Module):
    """The plain network with other blocks, other ways down, and heads on the way up."""

    def __init__(self, cin, cout, width, depth, upsampling, bias, options):
        super().__init__()
        get = options.get
        self.depth, self.rate, self.valid, self.strided = depth, get("dropout", 0.0), get("valid", False), get("strided", False)
        narrow = 1 if upsampling == "transposed" else 2
        most = get("max_width", 0) or width << depth
        full = [min(width << level, most) for level in range(depth + 1)]
        encoder = full[:depth] + [full[depth] // narrow]
        decoder = [full[0]] + [c // narrow for c in full[1:depth]]
        self.inc = Block(cin, width, width, bias, options)
        for level in range(1, depth + 1):
            down = plain.Down(encoder[level - 1], encoder[level], bias)
            down.maxpool_conv[1] = Block(encoder[level - 1], encoder[level], encoder[level], bias, options)
            if self.strided:
                first = nn.Conv2d(encoder[level - 1], encoder[level], 3, stride=2, padding=1, bias=bias)
                down.maxpool_conv[0], down.maxpool_conv[1].double_conv[0] = nn.Identity(), first
            setattr(self, f"down{level}", down)
        below = encoder[depth]
        self.aux_levels = range(1, depth - 1) if get("deep_supervision", False) else range(0)
        for level in reversed(range(depth)):
            up = plain.Up(below, encoder[level], decoder[level], upsampling, bias)
            joined = encoder[level] + below
            if upsampling == "transposed":
                up.up, joined = nn.ConvTranspose2d(below, encoder[level], 2, stride=2), 2 * encoder[level]
            up.conv = Block(joined, joined // 2 if upsampling == "bilinear-wide" else decoder[level], decoder[level], bias, options)
            setattr(self, f"up{depth - level}", up)
            below = decoder[level]
            if level in self.aux_levels:
                setattr(self, f"aux{level}", plain.Outc(below, cout))
        if get("affinities", 0):
            self.affinity = plain.Outc(below, get("affinities"))
        self.outc = plain.Outc(below, cout)

    def forward(self, x):
        """The logits; in training with deep supervision a list of them, level 0 first. Keeps those of affinities."""
        skips = [self.inc(x)]
        for level in range(1, self.depth + 1):
            skips.append(getattr(self, f"down{level}")(skips[-1]))
        x, sides = skips.pop(), {}
        if self.training and self.rate > 0:
            x = x * factors(self.rate, x.shape).to(x.dtype)
        for number in range(1, self.depth + 1):
            up, skip = getattr(self, f"up{number}"), skips.pop()
            x = up(x, cropped(skip, 2 * x.shape[2], 2 * x.shape[3]) if self.valid else skip)
            if self.depth - number in self.aux_levels:
                sides[self.depth - number] = getattr(self, f"aux{self.depth - number}")(x)
        logits = self.outc(x)
        self.pairs = self.affinity(x) if hasattr(self, "affinity") else None
        if self.training and self.aux_levels:
            return [logits] + [sides[level] for level in self.aux_levels]
        return logits


def loss_of(logits, target):
    """Binary cross-entropy; at several levels nnU-Net's weights, with the labels that lie in the middle of each pixel there."""
    if not isinstance(logits, list):
        return F.binary_cross_entropy_with_logits(logits, target)
    weights = [0.5**level for level in range(len(logits))]
    at = lambda level: F.interpolate(target, logits[level].shape[2:], mode="nearest-exact") if level else target  # noqa: E731
    return sum(w * F.binary_cross_entropy_with_logits(x, at(level)) for level, (w, x) in enumerate(zip(weights, logits))) / sum(weights)


def logits_and_gradients(model, x, target, idle):
    """Those of one batch in training mode, in the model's own precision, and the loss."""
    logits = model.train()(x)
    loss = loss_of(logits, target)
    if model.pairs is not None:
        loss = loss + F.binary_cross_entropy_with_logits(model.pairs, target[:, :1].expand_as(model.pairs))
    loss.backward()
    first = logits[0] if isinstance(logits, list) else logits
    return first.detach(), {n: p.grad.clone() for n, p in model.named_parameters() if n not in idle}, loss.detach()


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
    lost = 4 * 2**depth + 8 * (2**depth - 1) if model.valid else 0
    target = cropped(target, size[0] - lost, size[1] - lost)
    idle = idle_biases(model)
    single_logits, single, _ = logits_and_gradients(copy.deepcopy(model), x, target, idle)
    model.double()
    start = {n: t.clone() for n, t in model.state_dict().items() if not n.endswith("num_batches_tracked")}
    out = {f"weights/{n}": t for n, t in start.items()} | {"input": x, "target": target}
    xd, td = x.double(), target.double()
    with torch.no_grad():
        out["logits_eval"] = model.eval()(xd)
    logits, double, loss = logits_and_gradients(model, xd, td, idle)
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
