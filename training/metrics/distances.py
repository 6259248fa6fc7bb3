"""Distances between two sets of features, as the paper's tables report them (FID and KID where the features are
Inception's)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from torch_utils.misc import UserError

KID_SUBSETS, KID_SUBSET_SIZE = 100, 1000  # as torch-fidelity's
KID_SEED = 2020
CHUNK = 1024  # rows of features in memory at a time


class FeatureStatistics(NamedTuple):
    mean: np.ndarray  # [D]
    covariance: np.ndarray  # [D, D]


class KernelDistance(NamedTuple):
    mean: float
    std: float  # over the subsets


def feature_statistics(features: np.ndarray) -> FeatureStatistics:
    """Mean and covariance of features [N, D], N > 1, e.g. memory-mapped: a few rows are read at a time."""
    count, width = features.shape
    chunks = [slice(i, i + CHUNK) for i in range(0, count, CHUNK)]
    mean = sum((np.asarray(features[rows], np.float64).sum(0) for rows in chunks), np.zeros(width)) / count
    covariance = np.zeros((width, width))
    for rows in chunks:
        centred = np.asarray(features[rows], np.float64) - mean
        covariance += centred.T @ centred
    return FeatureStatistics(mean, covariance / (count - 1))


def frechet_distance(a: FeatureStatistics, b: FeatureStatistics) -> float:
    """|mean_a - mean_b|^2 + tr(A + B - 2 (A B)^(1/2)) of two normal distributions (Heusel et al. 2017)."""
    values, vectors = np.linalg.eigh(a.covariance)
    root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    cross = np.linalg.eigvalsh(root @ b.covariance @ root).clip(min=0)
    trace = np.trace(a.covariance) + np.trace(b.covariance) - 2 * np.sqrt(cross).sum()
    return float(np.square(a.mean - b.mean).sum() + trace)


def kernel_distance(
    a: np.ndarray, b: np.ndarray, *, subsets: int = KID_SUBSETS, subset_size: int = KID_SUBSET_SIZE
) -> KernelDistance:
    """Squared MMD of features [N, D] and [M, D] with the cubic kernel (x.y / D + 1)^3 (Binkowski et al. 2018).

    The unbiased estimate is averaged over random subsets, the same ones as in torch-fidelity. The tables show 100 times
    this number.

    Raises:
        UserError: fewer features than a subset takes.
    """
    fewest = min(len(a), len(b))
    if subset_size < 2 or fewest < subset_size:
        raise UserError(f"--kid_subset: expected 2 to {fewest}, the number of images, found {subset_size}")
    random = np.random.RandomState(KID_SEED)
    found = []
    for _ in range(subsets):
        x, y = (np.asarray(f[random.choice(len(f), subset_size, replace=False)], np.float64) for f in (a, b))
        found.append(_unbiased_mmd(x, y))
    return KernelDistance(float(np.mean(found)), float(np.std(found)))


def _unbiased_mmd(x: np.ndarray, y: np.ndarray) -> float:
    """Squared MMD of [n, D] and [n, D]; no picture is compared with itself."""
    count, width = x.shape
    k_xx, k_yy, k_xy = ((p @ q.T / width + 1) ** 3 for p, q in ((x, x), (y, y), (x, y)))
    within = (k_xx.sum() - np.trace(k_xx) + k_yy.sum() - np.trace(k_yy)) / (count * (count - 1))
    return float(within - 2 * k_xy.mean())
