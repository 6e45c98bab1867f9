#!/usr/bin/env python3
"""Writes crates/unet-train/tests/fixtures/scores.json: small arrays and what others make of them.

Run from the workspace root with NumPy, SciPy and scikit-image installed: python xtask/reference/scores_fixtures.py
The committed file was made by the versions under its key "versions".

From scikit-image and SciPy: components, distances, watersheds, skeletons, filled holes, cleared borders, properties of
regions, the adapted Rand error, the variation of information. From the definitions, written here as plainly as they
read: V_rand, V_info, the watershed of Vincent and Soille, warping by simple points, matches of objects, distances
between outlines. Probabilities are stored in thousandths.

With `--isbi FOLDER`, where the challenge's slices lie, it prints what tests/scores_isbi.rs expects instead.
"""

import json
import math
import pathlib
import sys
from collections import Counter, deque

import numpy as np
import scipy
import scipy.ndimage as ndi
import skimage
from skimage import io
from skimage.measure import label, regionprops
from skimage.metrics import adapted_rand_error, variation_of_information
from skimage.morphology import thin as skeletonize
from skimage.segmentation import clear_border, watershed

TARGET = pathlib.Path("crates/unet-train/tests/fixtures/scores.json")
EDGES = [(-1, 0), (0, -1), (0, 1), (1, 0)]
CROSS = ndi.generate_binary_structure(2, 1)
SQUARE = ndi.generate_binary_structure(2, 2)


def smooth(rng, shape, sigma):
    """Smooth noise in thousandths, spread over 0 to 1000."""
    noise = ndi.gaussian_filter(rng.standard_normal(shape), sigma, mode="reflect")
    return np.round(1000 * (noise - noise.min()) / np.ptp(noise)).astype(int)


def flat(array):
    return np.asarray(array).astype(int).ravel().tolist()


# --- Scores from their definitions ------------------------------------------------------------------------------------


def v_scores(truth, proposal):
    """V_rand and V_info (score, precision, recall) over the foreground of the truth, dams as clusters of their own."""
    inside = truth > 0
    n = int(inside.sum())
    pairs = []
    for k, (i, j) in enumerate(zip(truth[inside].tolist(), proposal[inside].tolist())):
        pairs.append((i, j if j > 0 else ("dam", k)))
    p = {key: count / n for key, count in Counter(pairs).items()}
    a = {key: count / n for key, count in Counter(i for i, _ in pairs).items()}
    b = {key: count / n for key, count in Counter(j for _, j in pairs).items()}
    square = lambda d: math.fsum(v * v for v in d.values())
    rand = [2 * square(p) / (square(a) + square(b)), square(p) / square(b), square(p) / square(a)]
    if len(a) == 1 or len(b) == 1:
        both = len(a) == 1 and len(b) == 1
        info = [1, 1, 1] if both else [0, 0, 1] if len(a) == 1 else [0, 1, 0]
    else:
        entropy = lambda d: -math.fsum(v * math.log(v) for v in d.values())
        shared = entropy(a) + entropy(b) - entropy(p)
        info = [2 * shared / (entropy(a) + entropy(b)), shared / entropy(b), shared / entropy(a)]
    return rand, info


def thin(cells):
    """Vincent and Soille's watershed of an image of two heights: 0 in cells, 255 elsewhere."""
    height, width = cells.shape
    near = lambda y, x: [(y + v, x + u) for v, u in EDGES if 0 <= y + v < height and 0 <= x + u < width]
    out, next_label = {}, 0
    for level in (True, False):
        masked = {(y, x) for y in range(height) for x in range(width) if bool(cells[y, x]) == level}
        queue = deque(p for p in sorted(masked) if any(q in out for q in near(*p)))
        queued = set(queue)
        while queue:
            p = queue.popleft()
            own, joinable = None, True
            for q in near(*p):
                if q in out and out[q] > 0:
                    if own is None or (own == 0 and joinable):
                        own = out[q]
                    elif own > 0 and own != out[q]:
                        own, joinable = 0, False
                elif q in out:
                    own = 0 if own is None else own
                elif q in masked and q not in queued:
                    queued.add(q)
                    queue.append(q)
            out[p] = own
        for p in sorted(masked):
            if p not in out:
                next_label += 1
                out[p] = next_label
                basin = deque([p])
                while basin:
                    for q in near(*basin.popleft()):
                        if q in masked and q not in out:
                            out[q] = next_label
                            basin.append(q)
    return np.array([[out[y, x] for x in range(width)] for y in range(height)])


def is_simple(cells, y, x):
    """Whether flipping a pixel keeps the topology: cells four-connected, the rest eight-connected."""
    patch = np.pad(cells, 1)[y : y + 3, x : x + 3].copy()
    patch[1, 1] = 0
    parts = ndi.label(patch, CROSS)[0]
    beside = {parts[0, 1], parts[1, 0], parts[1, 2], parts[2, 1]} - {0}
    gaps = 1 - patch
    gaps[1, 1] = 0
    return len(beside) == 1 and ndi.label(gaps, SQUARE)[1] == 1


def warping_error(truth, p, threshold):
    """Flips, of the simple pixels that differ, the one most contradicted, until there is none."""
    warped, goal = truth.copy(), (p > threshold).astype(int)
    while True:
        wrong = [(y, x) for y, x in np.argwhere(warped != goal).tolist() if is_simple(warped, y, x)]
        if not wrong:
            return float((warped != goal).mean())
        y, x = max(wrong, key=lambda q: (abs(int(p[q]) - 1000 * int(warped[q])), -q[0], -q[1]))
        warped[y, x] = goal[y, x]


def matches(truth, proposal):
    """Matched objects above 50, 55, … 95 percent, and the sum of the intersections over unions above 50."""
    ious = []
    for i in set(truth.ravel().tolist()) - {0}:
        for j in set(proposal.ravel().tolist()) - {0}:
            both = int(((truth == i) & (proposal == j)).sum())
            ious.append((both, int(((truth == i) | (proposal == j)).sum())))
    counts = [sum(100 * both > percent * either for both, either in ious) for percent in range(50, 100, 5)]
    return counts, math.fsum(both / either for both, either in ious if 2 * both > either)


def surfaces(truth, proposal, tolerance):
    """Hausdorff-95, average surface distance and boundary F by comparing every pixel with every other."""
    outline = lambda mask: np.argwhere(mask & ~ndi.binary_erosion(mask, CROSS, border_value=0)).astype(float)
    a, b = outline(truth > 0), outline(proposal > 0)
    apart = np.sqrt(((a[:, None] - b[None]) ** 2).sum(-1))
    to_b, to_a = apart.min(1), apart.min(0)
    recall, precision = (to_b <= tolerance).mean(), (to_a <= tolerance).mean()
    return [
        max(np.percentile(to_a, 95), np.percentile(to_b, 95)),
        np.concatenate([to_a, to_b]).mean(),
        2 * precision * recall / (precision + recall),
    ]


def betti(mask, eight):
    foreground, background = (SQUARE, CROSS) if eight else (CROSS, SQUARE)
    return [ndi.label(mask, foreground)[1], ndi.label(np.pad(mask, 1) == 0, background)[1] - 1]


def cl_dice(truth, proposal):
    precision = truth[skeletonize(proposal > 0)].mean()
    sensitivity = proposal[skeletonize(truth > 0)].mean()
    return [2 * precision * sensitivity / (precision + sensitivity), precision, sensitivity]


# --- Cases ------------------------------------------------------------------------------------------------------------


def mask_case(rng, shape, sigma, level):
    mask = (smooth(rng, shape, sigma) > level).astype(int)
    return {
        "width": shape[1],
        "height": shape[0],
        "mask": flat(mask),
        "four": flat(ndi.label(mask, CROSS)[0]),
        "eight": flat(ndi.label(mask, SQUARE)[0]),
        "distance_squared": flat(np.round(ndi.distance_transform_edt(mask) ** 2)),
        "filled": flat(ndi.binary_fill_holes(mask)),
        "skeleton": flat(skeletonize(mask > 0)),
        "betti_four": betti(mask, False),
        "betti_eight": betti(mask, True),
    }


def label_case(rng, shape, sigma):
    """A truth, and a proposal with splits, mergers, shifts and dams."""
    base = smooth(rng, shape, sigma)
    truth = label(base > 560, connectivity=1)
    other = np.clip(base + (smooth(rng, shape, 1.0) - 500) // 3, 0, 1000)
    proposal = label(np.roll(other, 1, axis=1) > 585, connectivity=1)
    intensity = smooth(rng, shape, 2.0)
    rand, info = v_scores(truth, proposal)
    rows = [
        [r.label, r.area, r.centroid[1], r.centroid[0], r.bbox[1], r.bbox[0], r.bbox[3], r.bbox[2], r.perimeter,
         r.eccentricity, r.axis_major_length, r.axis_minor_length, r.orientation, r.equivalent_diameter_area,
         r.intensity_mean]
        for r in regionprops(truth, intensity_image=intensity / 1000)
    ]  # fmt: skip
    counts, iou = matches(truth, proposal)
    return {
        "width": shape[1],
        "height": shape[0],
        "truth": flat(truth),
        "proposal": flat(proposal),
        "intensity": flat(intensity),
        "v_rand": rand,
        "v_info": info,
        "adapted_rand": list(map(float, adapted_rand_error(truth, proposal))),
        "variation": list(map(float, variation_of_information(truth, proposal))),
        "matched": counts,
        "matched_iou": iou,
        "surfaces": list(map(float, surfaces(truth, proposal, 1.5))),
        "cl_dice": list(map(float, cl_dice((truth > 0).astype(int), (proposal > 0).astype(int)))),
        "cleared": flat(clear_border(truth, buffer_size=1)),
        "regions": [list(map(float, row)) for row in rows],
    }


def watershed_case(rng, shape, levels):
    """A landscape in thousandths (coarse ones have plateaus), markers of unlike heights, and a mask with walls."""
    landscape = smooth(rng, shape, 1.5) * levels // 1000
    markers = np.zeros(shape, int)
    places = rng.permutation(shape[0] * shape[1])
    _, first = np.unique(landscape.ravel()[places], return_index=True)
    places = rng.permutation(places[first])[:9]
    markers.ravel()[places] = np.arange(1, len(places) + 1)
    mask = (smooth(rng, shape, 3.0) > 250).astype(int)
    flood = lambda connectivity: watershed(landscape.astype(float), markers, connectivity=connectivity, mask=mask > 0)
    return {
        "width": shape[1],
        "height": shape[0],
        "landscape": flat(landscape),
        "markers": flat(markers),
        "mask": flat(mask),
        "four": flat(flood(1)),
        "eight": flat(flood(2)),
    }


def isbi_case(rng, shape):
    base = smooth(rng, shape, 2.5)
    truth = (np.abs(base - 500) > 60).astype(int)
    p = np.clip(8 * np.abs(base - 500) + (smooth(rng, shape, 1.0) - 500) - 100, 0, 1000)
    parts = ndi.label(truth, CROSS)[0]
    curve = []
    for threshold in range(0, 1001, 100):
        cells = p > threshold
        rand, info = v_scores(parts, thin(cells))
        plain, _ = v_scores(parts, ndi.label(cells, CROSS)[0])
        both = int((cells & (truth > 0)).sum())
        pixel_f = 2 * both / int(cells.sum() + truth.sum())
        curve.append([*rand, *info, plain[0], pixel_f, warping_error(truth, p, threshold)])
    return {
        "width": shape[1],
        "height": shape[0],
        "truth": flat(truth),
        "probability": flat(p),
        "thinned_at_half": flat(thin(p > 500)),
        "curve": curve,
    }


def instances_case(rng, shape):
    """Cells from probabilities: smoothed, seeded where that is high, flooded from there, small ones dropped."""
    base = smooth(rng, shape, 2.5)
    thousandths = np.clip(9 * np.abs(base - 500) - 100 + (smooth(rng, shape, 1.0) - 500) // 2, 0, 1000)
    p = (thousandths / 1000).astype(np.float32)
    smoothed = ndi.gaussian_filter(p.astype(float), 1.0, mode="mirror").astype(np.float32)
    mask = p > 0.5
    parts = label(mask, connectivity=1)
    seeds = label(mask & (smoothed > 0.8), connectivity=1)
    seeds[np.bincount(seeds.ravel())[seeds] < 6] = 0
    seeds = relabeled(seeds)
    for part in range(1, parts.max() + 1):
        if not seeds[parts == part].any():
            seeds.ravel()[np.argmax(np.where(parts == part, smoothed, -1))] = seeds.max() + 1
    found = watershed(-smoothed, seeds, connectivity=1, mask=mask)
    found[np.bincount(found.ravel())[found] < 10] = 0
    return {
        "width": shape[1],
        "height": shape[0],
        "probability": flat(thousandths),
        "smoothed": [round(float(v), 8) for v in smoothed.ravel()],
        "seeds": flat(seeds),
        "labels": flat(relabeled(found)),
    }


def relabeled(labels):
    """1, 2, … in the order of the labels; 0 stays."""
    return np.searchsorted(np.unique(np.append(labels, 0)), labels)


def main():
    rng = np.random.default_rng(2012)
    fixture = {
        "versions": {"numpy": np.__version__, "scipy": scipy.__version__, "skimage": skimage.__version__},
        "masks": [mask_case(rng, *args) for args in [((24, 31), 1.2, 450), ((17, 40), 1.0, 420), ((9, 9), 1.0, 600)]],
        "labels": [label_case(rng, *args) for args in [((30, 36), 1.4), ((41, 23), 1.2)]],
        "watersheds": [watershed_case(rng, (26, 30), levels) for levels in (1000, 12)],
        "isbi": [isbi_case(rng, shape) for shape in [(28, 36), (33, 25)]],
        "instances": [instances_case(rng, shape) for shape in [(40, 48), (37, 29)]],
    }
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    rows = [f'"{key}": {json.dumps(value, separators=(",", ":"))}' for key, value in fixture.items()]
    TARGET.write_text("{\n" + ",\n".join(rows) + "\n}\n")


def real_slice(folder, slice_number=0):
    """A slice's own gray values taken for the probability of cell: V_rand and V_info at 0.5 and 0.7."""
    image, labels = (io.imread(folder / "train" / kind / f"{slice_number}.png") for kind in ("image", "label"))
    parts = ndi.label(labels > 0, CROSS)[0]
    for threshold in (0.5, 0.7):
        rand, info = v_scores(parts, thin(image > 255 * threshold))
        print(threshold, rand[0], info[0])


if __name__ == "__main__":
    if sys.argv[1:2] == ["--isbi"]:
        real_slice(pathlib.Path(sys.argv[2]))
    else:
        main()
