#!/usr/bin/env python3
"""Writes crates/unet-model/tests/fixtures/parity-*.safetensors: what PyTorch computes for small U-Nets.

Run from the workspace root with PyTorch and safetensors installed: python xtask/reference/model_parity.py
The committed files were made by the versions that their metadata names (torch 2.15.0, CPU).

PyTorch computes in double precision from f32 weights and inputs, and the results are rounded to f32, so that a difference is
ours and not the sum of two roundings. The network is written here anew, after the paper and the layout of parameter names that
`milesial/Pytorch-UNet` made common. Tensors of a file, NCHW:

    weights/NAME     initial parameters and running statistics (PyTorch's own initialisation, batch norms made uneven)
    input, target    the batch; targets are 0 or 1
    logits_eval      logits with the initial running statistics
    logits_train     logits with the batch's statistics
    loss             binary cross-entropy with logits, its mean
    grads/NAME       gradients of that loss
    running/NAME     running statistics after that one forward pass
    steps/NAME       (some files) parameters after three steps of RMSprop on the same batch, from the initial weights

A convolution's bias ahead of batch norm changes no output: its gradient is rounding noise, so `grads` and `steps` leave it out.

The metadata's `f32_rounding` says how far PyTorch's own single precision lies from double: the largest difference of a logit beside the
largest logit, ‖Δ‖/‖g‖ of the worst tensor's gradient and of the whole one. Where batch norm sees a pixel or two, it makes ±1 of a
difference that may be all rounding, and a tensor's gradient may be off by more than 1e-4.
"""

import copy
import json
import pathlib

import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

TARGET = pathlib.Path("crates/unet-model/tests/fixtures")
RMSPROP = dict(lr=1e-3, alpha=0.99, eps=1e-8, weight_decay=1e-8, momentum=0.9)

# name, in, out, width, depth, upsampling, bias, (height, width), whether RMSprop's steps are stored too
CASES = [
    ("bilinear-deep", 1, 1, 4, 4, "bilinear", True, (33, 47), False),
    ("bilinear-wide-deep", 3, 2, 2, 4, "bilinear-wide", False, (48, 32), False),
    ("transposed-deep", 1, 1, 2, 4, "transposed", False, (35, 32), False),
    # Two pixels at the deepest level, and one.
    ("small-deep", 1, 1, 2, 4, "bilinear", False, (16, 47), False),
    ("smallest-deep", 1, 1, 2, 4, "bilinear", True, (16, 16), False),
    ("bilinear", 2, 1, 4, 2, "bilinear", False, (18, 21), True),
    ("bilinear-wide", 1, 3, 4, 2, "bilinear-wide", True, (17, 16), True),
    ("transposed", 1, 1, 4, 2, "transposed", True, (19, 23), True),
]


class DoubleConv(nn.Module):
    def __init__(self, cin, mid, cout, bias):
        super().__init__()
        layers = []
        for a, b in ((cin, mid), (mid, cout)):
            layers += [nn.Conv2d(a, b, 3, padding=1, bias=bias), nn.BatchNorm2d(b), nn.ReLU()]
        self.double_conv = nn.Sequential(*layers)

    def forward(self, x):
        return self.double_conv(x)


class Down(nn.Module):
    def __init__(self, cin, cout, bias):
        super().__init__()
        self.maxpool_conv = nn.Sequential(nn.MaxPool2d(2), DoubleConv(cin, cout, cout, bias))

    def forward(self, x):
        return self.maxpool_conv(x)


class Up(nn.Module):
    def __init__(self, cin, skip, cout, upsampling, bias):
        super().__init__()
        if upsampling == "transposed":
            self.up = nn.ConvTranspose2d(cin, cin // 2, 2, stride=2)
            cin //= 2
        else:
            self.up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
        joined = cin + skip
        self.conv = DoubleConv(joined, joined // 2 if upsampling == "bilinear-wide" else cout, cout, bias)

    def forward(self, x, skip):
        x = self.up(x)
        rows, columns = skip.shape[2] - x.shape[2], skip.shape[3] - x.shape[3]
        x = F.pad(x, [columns // 2, columns - columns // 2, rows // 2, rows - rows // 2])
        return self.conv(torch.cat([skip, x], dim=1))


class Outc(nn.Module):
    def __init__(self, cin, cout):
        super().__init__()
        self.conv = nn.Conv2d(cin, cout, 1)

    def forward(self, x):
        return self.conv(x)


class UNet(nn.Module):
    def __init__(self, cin, cout, width, depth, upsampling, bias):
        super().__init__()
        narrow = 1 if upsampling == "transposed" else 2
        encoder = [width << level for level in range(depth)] + [(width << depth) // narrow]
        decoder = [width] + [(width << level) // narrow for level in range(1, depth)]
        self.depth = depth
        self.inc = DoubleConv(cin, width, width, bias)
        for level in range(1, depth + 1):
            setattr(self, f"down{level}", Down(encoder[level - 1], encoder[level], bias))
        below = encoder[depth]
        for level in reversed(range(depth)):
            up = Up(below, encoder[level], decoder[level], upsampling, bias)
            setattr(self, f"up{depth - level}", up)
            below = decoder[level]
        self.outc = Outc(below, cout)

    def forward(self, x):
        skips = [self.inc(x)]
        for level in range(1, self.depth + 1):
            skips.append(getattr(self, f"down{level}")(skips[-1]))
        x = skips.pop()
        for number in range(1, self.depth + 1):
            x = getattr(self, f"up{number}")(x, skips.pop())
        return self.outc(x)


def uneven(model):
    """Batch norms as training leaves them: not the identity."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.3)
            nn.init.normal_(module.running_mean, std=0.2)
            nn.init.uniform_(module.running_var, 0.3, 2.0)


def idle_biases(model):
    """Names of the convolution biases ahead of a batch norm."""
    norms = {name for name, module in model.named_modules() if isinstance(module, nn.BatchNorm2d)}
    following = {n: f"{n.rpartition('.')[0]}.{int(n.rpartition('.')[2]) - 1}.bias" for n in norms}
    return set(following.values())


def batch(cin, cout, size):
    """Noise over a gradient, and blobs to find in it."""
    x = torch.randn(2, cin, *size) + torch.linspace(-1, 1, size[1])
    target = (F.avg_pool2d(torch.randn(2, cout, *size), 3, stride=1, padding=1) > 0).float()
    return x, target


def case(name, cin, cout, width, depth, upsampling, bias, size, with_steps):
    torch.manual_seed(len(name) * 1000 + depth)
    model = UNet(cin, cout, width, depth, upsampling, bias)
    uneven(model)
    x, target = batch(cin, cout, size)
    idle = idle_biases(model)
    single_logits, single = logits_and_gradients(copy.deepcopy(model), x, target, idle)
    model.double()
    start = {n: t.clone() for n, t in model.state_dict().items() if not n.endswith("num_batches_tracked")}
    out = {f"weights/{n}": t for n, t in start.items()} | {"input": x, "target": target}
    xd, td = x.double(), target.double()
    with torch.no_grad():
        out["logits_eval"] = model.eval()(xd)
    logits, double = logits_and_gradients(model, xd, td, idle)
    loss = F.binary_cross_entropy_with_logits(logits, td)
    out |= {"logits_train": logits, "loss": loss.reshape(1)}
    out |= {f"grads/{n}": g for n, g in double.items()}
    out |= {f"running/{n}": t.clone() for n, t in model.state_dict().items() if "running" in n}
    if with_steps:
        model.load_state_dict(start, strict=False)
        out |= {f"steps/{n}": p for n, p in three_steps(model, xd, td).items() if n not in idle}
    config = dict(in_channels=cin, out_channels=cout, width=width, depth=depth, upsampling=upsampling, conv_bias=bias)
    facts = {"script": "xtask/reference/model_parity.py", "torch": torch.__version__.partition("+")[0], "config": config, "rmsprop": RMSPROP}
    off = lambda a, b: ((a - b).norm() / b.norm()).item()
    whole = [torch.cat([g.flatten() for g in grads.values()]) for grads in (single, double)]
    facts["f32_rounding"] = {
        "logits": ((single_logits - logits).abs().max() / logits.abs().max()).item(),
        "tensor": max(off(single[n], g) for n, g in double.items()),
        "gradient": off(*whole),
    }
    tensors = {n: t.detach().float().contiguous() for n, t in out.items()}
    save_file(tensors, TARGET / f"parity-{name}.safetensors", metadata={"fixture": json.dumps(facts, sort_keys=True)})


def logits_and_gradients(model, x, target, idle):
    """Those of one batch in training mode, in the model's own precision."""
    logits = model.train()(x)
    F.binary_cross_entropy_with_logits(logits, target).backward()
    return logits.detach(), {n: p.grad.clone() for n, p in model.named_parameters() if n not in idle}


def three_steps(model, x, target):
    optimizer = torch.optim.RMSprop(model.parameters(), foreach=False, **RMSPROP)
    for _ in range(3):
        optimizer.zero_grad()
        F.binary_cross_entropy_with_logits(model(x), target).backward()
        optimizer.step()
    return {n: p.detach().clone() for n, p in model.named_parameters()}


if __name__ == "__main__":
    TARGET.mkdir(parents=True, exist_ok=True)
    for arguments in CASES:
        case(*arguments)
