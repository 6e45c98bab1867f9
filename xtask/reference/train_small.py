"""24 steps of the article's recipe in plain PyTorch, small: the fixture of crates/unet-train/tests/parity.rs.

Width 8, 128x128, batch 1, BCE with logits, RMSprop (lr 1e-5, alpha 0.99, eps 1e-8, weight decay 1e-8, momentum 0.9), on eight
made-up gray images fed raw (0-255). Stores images, masks, the initial weights under the article's names, the order of the images
and the losses.

    python train_small.py OUT.safetensors

Written for torch 2.15.0, numpy 2.4, safetensors 0.8.
"""

import json
import sys

import numpy as np
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from train_article import UNet

SIZE, IMAGES, STEPS, WIDTH, SEED = 128, 8, 24, 8, 7


def blur(x, times):
    for _ in range(times):
        x = sum(np.roll(x, s, a) for a in (0, 1) for s in (-1, 0, 1)) / 6
    return x


def sample(rng):
    """Cells parted by thin dark walls, with dark dots inside and noise over all."""
    field = blur(rng.standard_normal((SIZE, SIZE)), 40)
    wall = np.abs(field) < 0.25 * field.std()
    dots = blur(rng.standard_normal((SIZE, SIZE)), 6)
    image = 170 - 90 * wall - 60 * (dots > 1.8 * dots.std())
    image = blur(image, 1) + 12 * rng.standard_normal((SIZE, SIZE))
    return np.clip(image, 0, 255).round().astype(np.uint8), (~wall).astype(np.uint8)


def article_name(name):
    """`encoder.2.3.weight` is `down2.maxpool_conv.1.double_conv.3.weight` there."""
    part, _, rest = name.partition(".")
    if part == "head":
        return f"outc.conv.{rest}"
    index, _, rest = rest.partition(".")
    if part == "decoder":
        return f"up{int(index) + 1}.conv.double_conv.{rest}"
    return f"inc.double_conv.{rest}" if index == "0" else f"down{index}.maxpool_conv.1.double_conv.{rest}"


def main():
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    rng = np.random.default_rng(SEED)
    samples = [sample(rng) for _ in range(IMAGES)]
    images = torch.from_numpy(np.stack([s[0] for s in samples]))
    labels = torch.from_numpy(np.stack([s[1] for s in samples]))
    order = np.concatenate([rng.permutation(IMAGES) for _ in range(STEPS // IMAGES)])
    net = UNet(WIDTH)
    tensors = {f"model.{article_name(n)}": t.clone() for n, t in net.state_dict().items() if t.is_floating_point()}
    optimizer = torch.optim.RMSprop(net.parameters(), lr=1e-5, weight_decay=1e-8, momentum=0.9)
    losses = []
    for i in order:
        loss = F.binary_cross_entropy_with_logits(net(images[i][None, None].float()), labels[i][None, None].float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    tensors |= {"images": images, "labels": labels}
    tensors |= {"order": torch.tensor(order, dtype=torch.int64), "losses": torch.tensor(losses, dtype=torch.float64)}
    about = {"script": "xtask/reference/train_small.py", "torch": torch.__version__, "share_of_class_1": labels.float().mean().item()}
    save_file(tensors, sys.argv[1], {"about": json.dumps(about)})
    print(json.dumps(about), [round(x, 4) for x in losses])


if __name__ == "__main__":
    main()
