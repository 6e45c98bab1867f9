#!/usr/bin/env python3
"""Scores probabilities on disk with scikit-image and SciPy, beside what `unet evaluate --json` says of the same files.

    unet evaluate --pred PRED --truth TRUTH --threshold T --json > ours.json
    cargo xtask reference score_table PRED TRUTH ours.json

PRED holds NAME_prob.tif, P(cell) as 32-bit floats, TRUTH the masks NAME.png, cells being what is above 127. The labels are made at the
threshold that ours.json names. Prints a Markdown table. Thinning is scikit-image's watershed with lines, which breaks ties in another
order than ours; everything else is defined alike.
"""

import json
import pathlib
import sys

import numpy as np
import scipy
import scipy.ndimage as ndi
import skimage
import tifffile
from challenge import CROSS, THRESHOLDS, sweep, table, v_info, v_rand
from scores_fixtures import betti, cl_dice, relabeled
from skimage import io
from skimage.measure import label
from skimage.metrics import adapted_rand_error
from skimage.segmentation import watershed

TOLERANCE = 2.0
GROWN = {"max_hole": 64, "smoothing": 0, "seed_level": 0.9, "seed_area": 32, "seed_share": 0.5, "min_area": 16}


def outlines(truth, proposal):
    """Hausdorff-95, mean surface distance, boundary F within two pixels."""
    edge = lambda mask: mask & ~ndi.binary_erosion(mask, CROSS, border_value=0)
    a, b = edge(truth), edge(proposal)
    to_b, to_a = ndi.distance_transform_edt(~b)[a], ndi.distance_transform_edt(~a)[b]
    recall, precision = (to_b <= TOLERANCE).mean(), (to_a <= TOLERANCE).mean()
    return [
        max(np.percentile(to_a, 95), np.percentile(to_b, 95)),
        np.concatenate([to_a, to_b]).mean(),
        2 * precision * recall / (precision + recall),
    ]


def instances(p, method):
    """Cells of probabilities by the method that ours.json names: holes filled, smoothed, seeded where that is high, flooded from there."""
    return relabeled(flooded(p, method))


def flooded(p, method):
    """The same, not numbered anew."""
    threshold = np.float32(method["threshold"])
    mask = filled(p > threshold, method["max_hole"])
    smoothed = ndi.gaussian_filter(p.astype(float), method["smoothing"], mode="mirror").astype(np.float32)
    inside = np.sort(smoothed[mask]) if mask.any() else [threshold]
    level = threshold + np.float32(method["seed_level"]) * (inside[len(inside) * 99 // 100] - threshold)
    parts = label(mask, connectivity=1)
    areas = np.bincount(parts.ravel())[1:]
    areas = areas[areas >= method["min_area"]]
    least = max(method["seed_area"], np.ceil(method["seed_share"] * areas.mean()) if len(areas) else 0)
    seeds = label(mask & (smoothed > level), connectivity=1)
    seeds[np.bincount(seeds.ravel())[seeds] < least] = 0
    for part in set(range(1, parts.max() + 1)) - set(np.unique(parts[seeds > 0])):
        seeds.ravel()[np.argmax(np.where(parts == part, smoothed, -1))] = seeds.max() + 1
    found = watershed(-smoothed, seeds, connectivity=1, mask=mask)
    found[np.bincount(found.ravel())[found] < method["min_area"]] = 0
    return found


def filled(mask, most):
    """The mask with its holes of at most so many pixels."""
    gaps = label(~mask, connectivity=2)
    open_ = np.unique(np.concatenate([gaps[0], gaps[-1], gaps[:, 0], gaps[:, -1]]))
    return mask | ((gaps > 0) & ~np.isin(gaps, open_) & (np.bincount(gaps.ravel())[gaps] <= most))


def grown(truth, p):
    """V_rand and V_info at each threshold of cells from seeds of half the mean part, grown along the ridges of the probability."""
    truth, rows = label(truth, connectivity=1), []
    for threshold in THRESHOLDS:
        parts = flooded(p, GROWN | {"threshold": threshold})
        cells = watershed(-p, parts, connectivity=1) if parts.any() else np.ones(p.shape, int)
        pairs = table(truth, cells)
        rows.append((v_rand(*pairs), v_info(*pairs)))
    return rows


def objects(t, p):
    """Matches above 50, 55 … 95 percent, summed IoU above 50, numbers of objects, adapted Rand error."""
    both = np.zeros((t.max() + 1, p.max() + 1))
    np.add.at(both, (t.ravel(), p.ravel()), 1)
    either = both.sum(1, keepdims=True) + both.sum(0, keepdims=True) - both
    iou = (both / np.maximum(either, 1))[1:, 1:]
    matched = [int((iou * 100 > percent).sum()) for percent in range(50, 100, 5)]
    return matched, iou[iou > 0.5].sum(), t.max(), p.max(), adapted_rand_error(t, p)[0]


def shapes(truth, proposal):
    """Of membrane and cells: outlines, clDice, errors of the numbers of parts and holes."""
    found = []
    for of_class, eight in ((False, True), (True, False)):
        a, b = truth == of_class, proposal == of_class
        numbers = np.abs(np.subtract(betti(a.astype(int), eight), betti(b.astype(int), eight)))
        found.append([*outlines(a, b), cl_dice(a.astype(int), b.astype(int))[0], *numbers])
    return found


def score(pred, truth, threshold, method):
    names = sorted(path.name.removesuffix("_prob.tif") for path in pred.glob("*_prob.tif"))
    pairs = [(tifffile.imread(pred / f"{n}_prob.tif"), io.imread(truth / f"{n}.png") > 127) for n in names]
    curve = np.array([sweep(t, p) for p, t in pairs]).mean(0)
    best = lambda scores: (scores.max(), THRESHOLDS[int(scores.argmax())])
    labels = [(p.astype(float) >= threshold, t) for p, t in pairs]
    joined = [np.concatenate([x[k].ravel() for x in labels]) for k in (0, 1)]
    rows = {"pixel error": (joined[0] != joined[1]).mean()}
    for name, of_class in (("membrane", False), ("cell", True)):
        found, true = joined[0] == of_class, joined[1] == of_class
        hit = (found & true).sum()
        rows[f"{name}: Dice"] = 2 * hit / (found.sum() + true.sum())
        rows[f"{name}: IoU"] = hit / (found | true).sum()
        rows[f"{name}: precision"] = hit / found.sum()
        rows[f"{name}: recall"] = hit / true.sum()
    rows["V_rand (thinned)"], rows["V_rand: best threshold"] = best(curve[:, 0])
    rows["V_info (thinned)"], rows["V_info: best threshold"] = best(curve[:, 1])
    of_grown = np.array([grown(t, p) for p, t in pairs]).mean(0)
    rows["V_rand (grown)"], rows["V_rand (grown): best threshold"] = best(of_grown[:, 0])
    rows["V_info (grown)"], rows["V_info (grown): best threshold"] = best(of_grown[:, 1])
    rows["Rand error, older protocol"] = 1 - best(curve[:, 2])[0]
    rows["pixel error, 1 - F"] = 1 - best(curve[:, 3])[0]
    of_shapes = np.mean([shapes(t, p) for p, t in labels], axis=0)
    kinds = ["Hausdorff-95 (px)", "mean surface distance (px)", "boundary F", "clDice", "Betti-0 error", "Betti-1 error"]
    for name, values in zip(("membrane", "cell"), of_shapes):
        rows |= {f"{name}: {kind}": value for kind, value in zip(kinds, values)}
    cells = lambda p: instances(p, method) if method else label(p.astype(float) >= threshold, connectivity=1)
    parts = [objects(label(t, connectivity=1), cells(p)) for p, t in pairs]
    matched = np.sum([part[0] for part in parts], axis=0)
    true, found = sum(part[2] for part in parts), sum(part[3] for part in parts)
    precision = matched / (true + found - matched)
    rows["objects: AP at IoU 0.5"], rows["objects: AP, mean of 0.5 to 0.95"] = precision[0], precision.mean()
    rows["objects: panoptic quality"] = sum(part[1] for part in parts) / ((true + found) / 2)
    rows["objects: count error"] = found - true
    rows["objects: adapted Rand error"] = np.mean([part[4] for part in parts])
    return rows


def ours_of(report):
    rows = {"pixel error": report["pixel_error"]}
    keys = {"Dice": "dice", "IoU": "iou", "precision": "precision", "recall": "recall", "Hausdorff-95 (px)": "hausdorff_95",
            "mean surface distance (px)": "average_surface_distance", "boundary F": "boundary_f", "clDice": "cl_dice",
            "Betti-0 error": "betti_0_error", "Betti-1 error": "betti_1_error"}  # fmt: skip
    for name, scores in zip(("membrane", "cell"), report["per_class"]):
        rows |= {f"{name}: {kind}": scores[key] for kind, key in keys.items()}
    isbi, parts = report["isbi"], report["objects"]
    return rows | {
        "V_rand (thinned)": isbi["v_rand"],
        "V_rand: best threshold": isbi["v_rand_threshold"],
        "V_info (thinned)": isbi["v_info"],
        "V_info: best threshold": isbi["v_info_threshold"],
        "V_rand (grown)": isbi["grown"]["v_rand"],
        "V_rand (grown): best threshold": isbi["grown"]["v_rand_threshold"],
        "V_info (grown)": isbi["grown"]["v_info"],
        "V_info (grown): best threshold": isbi["grown"]["v_info_threshold"],
        "Rand error, older protocol": isbi["rand_error"],
        "pixel error, 1 - F": isbi["pixel_error_f"],
        "warping error": isbi["warping_error"],
        "objects: AP at IoU 0.5": parts["average_precision"][0],
        "objects: AP, mean of 0.5 to 0.95": parts["mean_average_precision"],
        "objects: panoptic quality": parts["panoptic_quality"],
        "objects: count error": parts["count_error"],
        "objects: adapted Rand error": parts["adapted_rand_error"],
    }


def main():
    pred, truth, ours = map(pathlib.Path, sys.argv[1:4])
    report = json.loads(ours.read_text())
    ours, theirs = ours_of(report), score(pred, truth, report["threshold"], report["objects"]["method"])
    print(f"Labels at threshold {report['threshold']}; scikit-image {skimage.__version__}, SciPy {scipy.__version__}.\n")
    print("| score | `unet evaluate` | scikit-image, SciPy | difference |\n|---|--:|--:|--:|")
    for name, value in ours.items():
        if name in theirs:
            print(f"| {name} | {value:.6g} | {theirs[name]:.6g} | {abs(value - theirs[name]):.1e} |")
        else:
            print(f"| {name} | {value:.6g} | | |")


if __name__ == "__main__":
    main()
