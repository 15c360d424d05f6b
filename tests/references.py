"""Slow oracles for `jaxret.losses` and `jaxret.augmentation.color`: float64 loops from the formulas alone.

Nothing here imports jaxret. A gradient is the central difference of the oracle (`numeric_gradient`), except at ties,
where the tests state it by hand.
"""

import colorsys
import math

import numpy as np


def numeric_gradient(function, x, *, step=1e-6):
    """Central differences of a scalar function at x, one entry at a time."""
    x = np.array(x, np.float64)
    gradient = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        kept = x[index]
        x[index] = kept + step
        above = function(x)
        x[index] = kept - step
        below = function(x)
        x[index] = kept
        gradient[index] = (above - below) / (2 * step)
    return gradient


# Scores ---------------------------------------------------------------------------------------------------------------


def dot(x, y):
    total = 0.0
    for a, b in zip(x, y, strict=True):
        total += float(a) * float(b)
    return total


def l2_normalize(rows):
    out = np.zeros(np.shape(rows))
    for i, row in enumerate(rows):
        length = math.sqrt(dot(row, row))
        if length > 0:
            out[i] = [float(value) / length for value in row]
    return out


def similarity_matrix(queries, gallery):
    return np.array([[dot(q, g) for g in gallery] for q in queries])


def softmax(values):
    top = max(values)
    exponents = [math.exp(value - top) for value in values]
    return [e / sum(exponents) for e in exponents]


def attention_weights(projected, views):
    return np.array([[softmax([dot(p, r) for r in shape]) for shape in views] for p in projected])


def attention_scores(queries, projected, views):
    """Merges the views of each shape for each query, then takes the dot product (as the paper describes it)."""
    scores = np.zeros((len(queries), len(views)))
    for i, (q, p) in enumerate(zip(queries, projected, strict=True)):
        for j, shape in enumerate(views):
            weights = softmax([dot(p, r) for r in shape])
            merged = np.zeros(len(q))
            for weight, r in zip(weights, shape, strict=True):
                for d in range(len(q)):
                    merged[d] += weight * float(r[d])
            scores[i, j] = dot(q, merged)
    return scores


def pooled_scores(queries, views, pool, *, normalize=False):
    """pool: a function of the list of one dimension's values over the views ('mean' or 'max' of them)."""
    scores = np.zeros((len(queries), len(views)))
    for j, shape in enumerate(views):
        pooled = np.array([pool([float(r[d]) for r in shape]) for d in range(len(shape[0]))])
        if normalize:
            pooled = l2_normalize([pooled])[0]
        for i, q in enumerate(queries):
            scores[i, j] = dot(q, pooled)
    return scores


def best_view_scores(queries, views):
    return np.array([[max(dot(q, r) for r in shape) for shape in views] for q in queries])


def euclidean_distances(x, y, *, squared=False):
    out = np.zeros((len(x), len(y)))
    for i, a in enumerate(x):
        for j, b in enumerate(y):
            total = sum((float(s) - float(t)) ** 2 for s, t in zip(a, b, strict=True))
            out[i, j] = total if squared else math.sqrt(total)
    return out


# Contrastive losses ---------------------------------------------------------------------------------------------------


def _log_probabilities(row, allowed, temperature):
    """log p of each allowed column, None for the others."""
    logits = {j: float(s) / temperature for j, s in enumerate(row) if allowed[j]}
    if not logits:
        return {}
    top = max(logits.values())
    total = top + math.log(sum(math.exp(v - top) for v in logits.values()))
    return {j: v - total for j, v in logits.items()}


def _positive_logs(scores, positives, temperature, valid, candidates):
    """log p of each row's positives."""
    for i, row in enumerate(scores):
        allowed = [
            (valid is None or bool(valid[j])) and (candidates is None or bool(candidates[i][j]))
            for j in range(len(row))
        ]
        yield [p for j, p in _log_probabilities(row, allowed, temperature).items() if positives[i][j]]


def info_nce(scores, positives, *, temperature, valid=None, candidates=None):
    """-log of the summed probability of the positives; 0 without one."""
    losses = []
    for logs in _positive_logs(scores, positives, temperature, valid, candidates):
        if not logs:
            losses.append(0.0)
            continue
        top = max(logs)
        losses.append(-(top + math.log(sum(math.exp(p - top) for p in logs))))
    return np.array(losses)


def supervised_contrastive(scores, positives, *, temperature, valid=None, candidates=None):
    """Mean over the positives of -log p; 0 without one."""
    losses = []
    for logs in _positive_logs(scores, positives, temperature, valid, candidates):
        losses.append(-sum(logs) / len(logs) if logs else 0.0)
    return np.array(losses)


def masked_mean(values, mask):
    kept = [float(v) for v, m in zip(values, mask, strict=True) if m]
    return sum(kept) / len(kept) if kept else 0.0


def instance_positives(positive_index, gallery):
    return np.array([[index == j for j in range(gallery)] for index in positive_index])


def category_positives(query_category, shape_category, positive_index, *, include_true):
    mask = np.zeros((len(query_category), len(shape_category)), bool)
    for i in range(len(query_category)):
        for j in range(len(shape_category)):
            if j == positive_index[i]:
                mask[i, j] = include_true
            else:
                mask[i, j] = query_category[i] == shape_category[j]
    return mask


# Triplets -------------------------------------------------------------------------------------------------------------


def keeps_negative(rule, d_ap, d_an, margin):
    """Whether a negative belongs to a mining rule."""
    if not d_an < d_ap + margin:
        return False
    if rule == 'all':
        return True
    return d_an <= d_ap if rule == 'hard' else d_an > d_ap


def mined_triplets(distances, positives, negatives, *, rule, margin):
    """List of (anchor, positive, negative) whose loss is above 0, and the number of triplets looked at."""
    kept, looked_at = [], 0
    for a, row in enumerate(np.asarray(distances, np.float64)):
        near = [j for j in range(len(row)) if negatives[a][j]]
        far = [j for j in range(len(row)) if positives[a][j]]
        if rule == 'batch_hard' and near and far:
            near = [min(near, key=lambda j: row[j])]
            far = [max(far, key=lambda j: row[j])]
        for p in far:
            for n in near:
                looked_at += 1
                if keeps_negative('all' if rule == 'batch_hard' else rule, row[p], row[n], margin):
                    kept.append((a, p, n))
    return kept, looked_at


def triplet(distances, positives, negatives, *, rule, margin, reduction):
    kept, looked_at = mined_triplets(distances, positives, negatives, rule=rule, margin=margin)
    total = sum(float(distances[a][p]) - float(distances[a][n]) + margin for a, p, n in kept)
    divisor = {'mean_nonzero': len(kept), 'mean_all': looked_at, 'sum': 1}[reduction]
    return total / divisor if divisor else 0.0


def triplet_gradient(distances, positives, negatives, *, rule, margin, reduction):
    """+1 for the positive and -1 for the negative of each mined triplet, over the divisor."""
    kept, looked_at = mined_triplets(distances, positives, negatives, rule=rule, margin=margin)
    gradient = np.zeros(np.shape(distances))
    for a, p, n in kept:
        gradient[a, p] += 1.0
        gradient[a, n] -= 1.0
    return gradient / max({'mean_nonzero': len(kept), 'mean_all': looked_at, 'sum': 1}[reduction], 1)


# Colour ---------------------------------------------------------------------------------------------------------------


def rgb_to_lab(rgb):
    """One sRGB colour in [0, 1] to CIE L*a*b* under D65."""
    red, green, blue = ((c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4) for c in map(float, rgb))
    x = (0.4124564 * red + 0.3575761 * green + 0.1804375 * blue) / 0.9504700
    y = 0.2126729 * red + 0.7151522 * green + 0.0721750 * blue
    z = (0.0193339 * red + 0.1191920 * green + 0.9503041 * blue) / 1.0888300

    def f(t):
        return t ** (1 / 3) if t > 216 / 24389 else (24389 / 27 * t + 16) / 116

    return np.array([116 * f(y) - 16, 500 * (f(x) - f(y)), 200 * (f(y) - f(z))])


def lab_to_rgb(lab):
    """One CIE L*a*b* colour to sRGB; the matrix is solved for, not inverted by hand."""
    fy = (lab[0] + 16) / 116
    white = (0.9504700, 1.0, 1.0888300)
    xyz = []
    for f, w in zip((fy + lab[1] / 500, fy, fy - lab[2] / 200), white, strict=True):
        xyz.append(w * (f**3 if f**3 > 216 / 24389 else (116 * f - 16) * 27 / 24389))
    matrix = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    linear = np.linalg.solve(np.array(matrix), np.array(xyz))
    return np.array([12.92 * c if c <= 0.0031308 else 1.055 * c ** (1 / 2.4) - 0.055 for c in linear])


def rgb_to_ruderman(rgb):
    red, green, blue = map(float, rgb)
    cones = (
        0.3811 * red + 0.5783 * green + 0.0402 * blue,
        0.1967 * red + 0.7244 * green + 0.0782 * blue,
        0.0241 * red + 0.1288 * green + 0.8444 * blue,
    )
    long, medium, short = (math.log10(max(cone, 1 / 255)) for cone in cones)
    return np.array(
        [
            (long + medium + short) / math.sqrt(3),
            (long + medium - 2 * short) / math.sqrt(6),
            (long - medium) / math.sqrt(2),
        ]
    )


def ruderman_to_rgb(lab):
    axis_l, alpha, beta = lab[0] / math.sqrt(3), lab[1] / math.sqrt(6), lab[2] / math.sqrt(2)
    cones = [10 ** (axis_l + alpha + beta), 10 ** (axis_l + alpha - beta), 10 ** (axis_l - 2 * alpha)]
    matrix = [[0.3811, 0.5783, 0.0402], [0.1967, 0.7244, 0.0782], [0.0241, 0.1288, 0.8444]]
    return np.linalg.solve(np.array(matrix), np.array(cones))


def color_statistics(image, forward):
    """Mean and unbiased deviation (at least 1e-3) of each channel of one image [H, W, 3]."""
    pixels = [forward(pixel) for row in image for pixel in row]
    means, deviations = [], []
    for channel in range(3):
        values = [float(pixel[channel]) for pixel in pixels]
        mean = sum(values) / len(values)
        means.append(mean)
        deviations.append(max(math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1)), 1e-3))
    return np.array(means), np.array(deviations)


def color_transfer(images, permutation, *, space, ratio):
    forward = rgb_to_lab if space == 'lab' else rgb_to_ruderman
    backward = lab_to_rgb if space == 'lab' else ruderman_to_rgb
    out = np.zeros(np.shape(images))
    for i, image in enumerate(images):
        mean, deviation = color_statistics(image, forward)
        style_mean, style_deviation = color_statistics(images[permutation[i]], forward)
        for y, row in enumerate(image):
            for x, pixel in enumerate(row):
                moved = np.zeros(3)
                for c, value in enumerate(forward(pixel)):
                    up, down = style_deviation[c], deviation[c]
                    scale = up / down if ratio == 'style_over_content' else down / up
                    moved[c] = scale * (value - mean[c]) + style_mean[c]
                out[i, y, x] = [min(max(v, 0.0), 1.0) for v in backward(moved)]
    return out


def shift_hsv(images, hue, saturation, value):
    """The standard library's HSV, pixel by pixel."""
    out = np.zeros(np.shape(images))
    for i, image in enumerate(images):
        for y, row in enumerate(image):
            for x, pixel in enumerate(row):
                h, s, v = colorsys.rgb_to_hsv(*map(float, pixel))
                s, v = min(max(s * saturation[i], 0.0), 1.0), min(max(v * value[i], 0.0), 1.0)
                out[i, y, x] = colorsys.hsv_to_rgb((h + hue[i]) % 1.0, s, v)
    return out
