#!/usr/bin/env python3
"""Reads the regions that `unet predict --save instances` wrote with the real roifile package and compares them with the label image.

    read_rois.py FOLDER

For every NAME_rois.zip: one region for each row of NAME_objects.json; its polygon encloses every pixel of the object in
NAME_instances.tif, its box is the object's, and where the object has no hole its area is, too. Exits with 1 at the first difference.
"""

import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from roifile import ROI_TYPE, ImagejRoi


def fail(message):
    """Ends the check."""
    sys.exit(f"error: {message}")


def inside(corners, shape):
    """The pixels whose centres lie in a polygon along pixel edges (even-odd rule)."""
    mask = np.zeros(shape, bool)
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if x0 == x1:
            mask[min(y0, y1) : max(y0, y1), x0:] ^= True
    return mask


def check(archive):
    """Compares one archive with its label image and its table; gives the number of regions."""
    name = archive.name.removesuffix("_rois.zip")
    table = json.loads((archive.parent / f"{name}_objects.json").read_text())
    labels = np.asarray(Image.open(archive.parent / f"{name}_instances.tif"))
    regions = ImagejRoi.fromfile(archive) if table["objects"] else []
    if len(regions) != len(table["objects"]):
        fail(f"{archive}: {len(regions)} regions for {len(table['objects'])} objects")
    for region, row in zip(regions, table["objects"], strict=True):
        if region.roitype != ROI_TYPE.TRACED:
            fail(f"{archive}: object {row['id']} is no traced region, but {region.roitype}")
        corners = region.coordinates().astype(int)
        polygon, own = inside(corners, labels.shape), labels == row["id"]
        if (own & ~polygon).any():
            fail(f"{archive}: object {row['id']} leaves its region")
        rows, columns = np.nonzero(own)
        box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        if box != (region.left, region.top, region.right, region.bottom):
            fail(f"{archive}: object {row['id']} has the box {box}, its region {region}")
        if (labels[polygon] == row["id"]).all() and polygon.sum() != own.sum():
            fail(f"{archive}: object {row['id']} has {own.sum()} pixels, its region {polygon.sum()}")
    return len(regions)


def main():
    """Checks every archive of the folder."""
    archives = sorted(Path(sys.argv[1]).glob("*_rois.zip"))
    if not archives:
        fail(f"{sys.argv[1]}: no NAME_rois.zip here")
    print(f"roifile reads {sum(map(check, archives))} regions of {len(archives)} images as we wrote them")


if __name__ == "__main__":
    main()
