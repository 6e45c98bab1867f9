"""The networks that `cargo xtask bench` runs in PyTorch, under the parameter names of milesial/Pytorch-UNet.

`tutorial`: bilinear upsampling with aligned corners, biased convolutions (13.4 M parameters at base 64). `milesial`: transposed convolutions,
convolutions without bias (31 M at base 64). Both: one channel in, one logit out, four levels, padded 3x3 convolutions, batch norm.
"""

import torch
from torch import nn
from torch.nn import functional as F


class DoubleConv(nn.Module):
    """(3x3 convolution, batch norm, ReLU) twice."""

    def __init__(self, channels_in, channels_out, bias):
        super().__init__()
        layers = []
        for channels in (channels_in, channels_out):
            conv = nn.Conv2d(channels, channels_out, 3, padding=1, bias=bias)
            layers += [conv, nn.BatchNorm2d(channels_out), nn.ReLU(inplace=True)]
        self.double_conv = nn.Sequential(*layers)

    def forward(self, x):
        return self.double_conv(x)


class Down(nn.Module):
    """Half the size, then a block."""

    def __init__(self, channels_in, channels_out, bias):
        super().__init__()
        self.maxpool_conv = nn.Sequential(nn.MaxPool2d(2), DoubleConv(channels_in, channels_out, bias))

    def forward(self, x):
        return self.maxpool_conv(x)


class Up(nn.Module):
    """Twice the size, joined with the skip connection, then a block."""

    def __init__(self, below, skip, channels_out, transposed):
        super().__init__()
        if transposed:
            self.up = nn.ConvTranspose2d(below, below // 2, 2, stride=2)
            below //= 2
        else:
            self.up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
        self.conv = DoubleConv(skip + below, channels_out, bias=not transposed)

    def forward(self, x, skip):
        x = self.up(x)
        dy, dx = skip.shape[2] - x.shape[2], skip.shape[3] - x.shape[3]
        if dy or dx:
            x = F.pad(x, [dx // 2, dx - dx // 2, dy // 2, dy - dy // 2])
        return self.conv(torch.cat([skip, x], dim=1))


class OutConv(nn.Module):
    """The head."""

    def __init__(self, channels_in):
        super().__init__()
        self.conv = nn.Conv2d(channels_in, 1, 1)

    def forward(self, x):
        return self.conv(x)


class UNet(nn.Module):
    """The network of that name at any base width."""

    def __init__(self, network, base):
        super().__init__()
        transposed = network == "milesial"
        encoder = [base, 2 * base, 4 * base, 8 * base, (16 if transposed else 8) * base]
        decoder = [8 * base, 4 * base, 2 * base, base] if transposed else [4 * base, 2 * base, base, base]
        self.inc = DoubleConv(1, base, not transposed)
        below = encoder[4]
        for level in range(1, 5):
            setattr(self, f"down{level}", Down(encoder[level - 1], encoder[level], not transposed))
            setattr(self, f"up{level}", Up(below, encoder[4 - level], decoder[level - 1], transposed))
            below = decoder[level - 1]
        self.outc = OutConv(base)

    def forward(self, x):
        """Logits of x (N, 1, H, W), for any H and W of at least 16."""
        skips = [self.inc(x)]
        for down in (self.down1, self.down2, self.down3, self.down4):
            skips.append(down(skips[-1]))
        x = skips.pop()
        for up in (self.up1, self.up2, self.up3, self.up4):
            x = up(x, skips.pop())
        return self.outc(x)


def settle(args):
    """Threads, and a check that PyTorch is held where it should be."""
    torch.set_num_threads(args.threads)
    torch.set_num_interop_threads(1)
    capability = torch.backends.cpu.get_cpu_capability()
    if args.peer_isa == "avx2" and capability != "AVX2":
        raise RuntimeError(f"PyTorch is not held to AVX2: it reports {capability}")


def memory_format(setting):
    """PyTorch's layout of that name."""
    return torch.channels_last if "channels_last" in setting else torch.contiguous_format
