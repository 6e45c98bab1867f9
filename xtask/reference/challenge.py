"""The scores of the ISBI 2012 challenge with scikit-image's watershed and SciPy's sparse tables: what two scripts here compare ours with."""

import numpy as np
import scipy.ndimage as ndi
import scipy.sparse as sparse
from skimage.segmentation import watershed

CROSS = ndi.generate_binary_structure(2, 1)
THRESHOLDS = [tenth / 10 for tenth in range(11)]


def thin(cells):
    """Cells grown into the membrane until they meet: basins from 1 on, dams 0."""
    parts, count = ndi.label(cells, CROSS)
    if count == 0:
        return np.ones(cells.shape, int)
    return watershed((~cells).astype(np.uint8), parts, connectivity=1, watershed_line=True)


def table(truth, proposal):
    """Pixels of each pair of labels (rows from 1 on: the truth's; columns from 1 on: the proposal's), of the truth's foreground, and how
    many of those the proposal leaves at 0."""
    inside = truth > 0
    t, p = truth[inside], proposal[inside]
    dams = int((p == 0).sum())
    counts = sparse.coo_matrix((np.ones(len(t)), (t, p))).tocsr()
    return counts[:, 1:], np.asarray(counts.sum(1)).ravel(), dams


def v_rand(counts, sizes, dams):
    n = sizes.sum()
    both = (counts.data**2).sum() / n**2 + dams / n**2
    proposal = (np.asarray(counts.sum(0)) ** 2).sum() / n**2 + dams / n**2
    return 2 * both / ((sizes**2).sum() / n**2 + proposal)


def v_info(counts, sizes, dams):
    n = sizes.sum()
    entropy = lambda parts: -sum((q := parts[parts > 0] / n) * np.log(q)) if len(parts) else 0.0
    alone = dams / n * np.log(n)
    h_truth = entropy(sizes)
    h_proposal = entropy(np.asarray(counts.sum(0)).ravel()) + alone
    h_both = entropy(counts.data) + alone
    if h_truth == 0 or h_proposal == 0:
        return float(h_truth == h_proposal)
    return 2 * (h_truth + h_proposal - h_both) / (h_truth + h_proposal)


def sweep(truth, probability):
    """Of a slice, for each threshold: V_rand and V_info after thinning, Rand F-score without, F-score of the cells' pixels."""
    parts = ndi.label(truth, CROSS)[0]
    rows = []
    for threshold in THRESHOLDS:
        cells = probability > np.float32(threshold)
        thinned = table(parts, thin(cells))
        plain = table(parts, ndi.label(cells, CROSS)[0])
        pixel_f = 2 * (cells & truth).sum() / (cells.sum() + truth.sum())
        rows.append((v_rand(*thinned), v_info(*thinned), v_rand(*plain), pixel_f))
    return rows
