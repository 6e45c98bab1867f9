#!/usr/bin/env python3
"""The peers' side of `cargo xtask bench data`: augmented patches from a PyTorch DataLoader with albumentations or torchvision (v2) transforms.

All images are decoded before the first measurement and shared with the workers. Batches of 8, persistent workers; the steps of each set are the
closest that the library has to ours, with the same probabilities and magnitudes where it has a parameter for them.

Protocol, JSON a line: once warm it prints {"ready": ...}; for each line `step` on standard input it loads one epoch and prints
{"seconds": ..., "loss": ...} (the mean of all values); it ends when standard input does.
"""

import argparse
import json
import os
import sys
import time

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

BATCH = 8


def albumentations_steps(patch, which):
    """A function from image and mask arrays to tensors."""
    import albumentations as A
    import cv2

    cv2.setNumThreads(0)
    steps = [A.RandomCrop(patch, patch), A.HorizontalFlip(p=0.5), A.VerticalFlip(p=0.5)]
    reflect = cv2.BORDER_REFLECT_101
    if which == "elastic":
        steps.append(A.ElasticTransform(alpha=50, sigma=7, border_mode=reflect, p=1.0))
    if which == "full":
        steps += [
            A.RandomRotate90(p=0.5),
            A.Affine(rotate=(-180, 180), scale=(0.82, 1.22), shear=(-6, 6), translate_percent=(-0.05, 0.05), border_mode=reflect, p=0.8),
            A.ElasticTransform(alpha=50, sigma=7, border_mode=reflect, p=0.8),
            A.GaussianBlur(sigma_limit=(0.0, 1.0), blur_limit=0, p=0.5),
            A.Downscale(scale_range=(0.5, 1.0), p=0.5),
            A.RandomBrightnessContrast(0.1, 0.25, p=0.75),
            A.RandomGamma((78, 128), p=0.5),
            A.GaussNoise(std_range=(0.0, 0.04), p=0.5),
            A.CoarseDropout(num_holes_range=(1, 4), hole_height_range=(0.01, 0.15), hole_width_range=(0.01, 0.15), p=0.5),
        ]
    pipeline = A.Compose(steps)

    def draw(image, mask):
        out = pipeline(image=image, mask=mask)
        return torch.from_numpy(out["image"].astype(np.float32) / 255.0), torch.from_numpy(out["mask"].copy())

    return draw


def torchvision_steps(patch, which):
    """A function from image and mask arrays to tensors."""
    from torchvision import tv_tensors
    from torchvision.transforms import InterpolationMode, v2

    bilinear = InterpolationMode.BILINEAR
    steps = [v2.RandomCrop(patch), v2.RandomHorizontalFlip(0.5), v2.RandomVerticalFlip(0.5)]
    if which == "elastic":
        steps.append(v2.ElasticTransform(alpha=50.0, sigma=7.0, interpolation=bilinear))
    if which == "full":
        steps += [
            v2.RandomApply([v2.RandomAffine(180, translate=(0.05, 0.05), scale=(0.82, 1.22), shear=(-6, 6), interpolation=bilinear)], p=0.8),
            v2.RandomApply([v2.ElasticTransform(alpha=50.0, sigma=7.0, interpolation=bilinear)], p=0.8),
            v2.RandomApply([v2.GaussianBlur(9, sigma=(0.1, 1.0))], p=0.5),
            v2.RandomApply([v2.ColorJitter(brightness=0.1, contrast=0.25)], p=0.75),
        ]
    steps.append(v2.ToDtype({tv_tensors.Image: torch.float32, "others": None}, scale=True))
    if which == "full":
        steps += [v2.RandomApply([v2.GaussianNoise(sigma=0.02)], p=0.5), v2.RandomErasing(p=0.5, scale=(0.002, 0.02))]
    pipeline = v2.Compose(steps)

    def draw(image, mask):
        return pipeline(tv_tensors.Image(torch.from_numpy(image)[None]), tv_tensors.Mask(torch.from_numpy(mask)[None]))

    return draw


class Patches(Dataset):
    """So many draws from decoded images."""

    def __init__(self, folder, count, draw):
        names = sorted(os.listdir(os.path.join(folder, "image")))
        read = lambda part, name: np.array(Image.open(os.path.join(folder, part, name)))
        self.pairs = [(read("image", n), read("label", n)) for n in names]
        self.count, self.draw = count, draw

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        return self.draw(*self.pairs[index % len(self.pairs)])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--library", choices=["albumentations", "torchvision"], required=True)
    parser.add_argument("--set", choices=["flips", "elastic", "full", "dense"], required=True)
    parser.add_argument("--data", required=True)
    for name in ["patch", "patches", "threads"]:
        parser.add_argument(f"--{name}", type=int, required=True)
    args = parser.parse_args()
    torch.manual_seed(0)
    module = __import__(args.library)
    which = "full" if args.set == "dense" else args.set  # elastic deformation is dense in both libraries
    steps = albumentations_steps if args.library == "albumentations" else torchvision_steps
    data = Patches(args.data, args.patches, steps(args.patch, which))
    loader = DataLoader(data, batch_size=BATCH, shuffle=True, num_workers=args.threads, persistent_workers=True)

    def epoch():
        means = [float(images.flatten()[::64].float().mean()) for images, _ in loader]
        return sum(means) / len(means)

    epoch()
    versions = {args.library: module.__version__, "torch": torch.__version__}
    if args.library == "albumentations":
        versions["opencv"] = __import__("cv2").__version__
    print(json.dumps({"ready": {"what": f"{args.library}, DataLoader", "threads": args.threads, "versions": versions}}), flush=True)
    for line in sys.stdin:
        if line.strip() != "step":
            sys.exit(f"unknown request {line.strip()!r}: expected 'step'")
        begin = time.perf_counter()
        mean = epoch()
        print(json.dumps({"seconds": time.perf_counter() - begin, "loss": mean}), flush=True)


if __name__ == "__main__":
    main()
