"""Distances against closed forms, against torch-fidelity, and by their properties."""

import tracemalloc

import numpy as np
import pytest
import torch
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric

from torch_utils.misc import UserError
from training.metrics.distances import feature_statistics, frechet_distance, kernel_distance
from training.metrics.random_features import RandomFeatures


def features_with(mean: np.ndarray, factor: np.ndarray, count: int = 400, seed: int = 0) -> np.ndarray:
    """Features [N, D] with exactly this mean and covariance factor @ factor.T."""
    draws = np.random.default_rng(seed).standard_normal((count, len(mean)))
    draws -= draws.mean(0)
    whitened = np.linalg.solve(np.linalg.cholesky(np.cov(draws, rowvar=False)), draws.T).T
    return mean + whitened @ factor.T


def test_statistics_are_those_of_numpy_over_several_chunks():
    features = np.random.default_rng(0).normal(3, 2, (2500, 5)).astype(np.float32)
    found = feature_statistics(features)
    np.testing.assert_allclose(found.mean, features.astype(np.float64).mean(0), atol=1e-12)
    np.testing.assert_allclose(found.covariance, np.cov(features.astype(np.float64), rowvar=False), atol=1e-12)


def test_frechet_distance_of_commuting_gaussians():
    """Covariances with common axes: |m - n|^2 + sum (sqrt(a_i) - sqrt(b_i))^2 (Dowson and Landau 1982)."""
    axes = np.linalg.qr(np.random.default_rng(1).standard_normal((4, 4)))[0]
    m, n = np.array([0.0, 1, 2, 3]), np.array([1.0, 1, 0, 3])
    a, b = np.array([1.0, 2, 3, 4]), np.array([2.0, 1, 5, 0.5])
    found = frechet_distance(*(feature_statistics(features_with(*g)) for g in ((m, axes * a), (n, axes * b))))
    assert found == pytest.approx(5 + np.square(a - b).sum(), abs=1e-6)  # axes * a: standard deviations a


def test_frechet_distance_of_turned_gaussians_in_the_plane():
    """In two dimensions tr sqrt(AB) = sqrt(tr(AB) + 2 sqrt(det(AB))), for axes that do not agree."""
    factor = np.array([[2.0, 0.0], [1.0, 1.0]]), np.array([[1.0, -0.5], [0.0, 3.0]])
    a, b = (f @ f.T for f in factor)
    product = np.trace(a @ b) + 2 * np.sqrt(np.linalg.det(a @ b))
    expected = 4 + np.trace(a) + np.trace(b) - 2 * np.sqrt(product)
    stats = [feature_statistics(features_with(np.array([x, 0.0]), f)) for x, f in zip((0, 2), factor, strict=True)]
    assert frechet_distance(*stats) == pytest.approx(expected, abs=1e-6)


def test_frechet_distance_to_itself_is_zero():
    stats = feature_statistics(np.random.default_rng(2).standard_normal((50, 8)))
    assert frechet_distance(stats, stats) == pytest.approx(0.0, abs=1e-9)


def test_random_features_tell_noise_from_flat_pictures():
    random = torch.Generator().manual_seed(0)
    net = RandomFeatures()
    noise, more = (net(torch.rand(40, 3, 32, 32, generator=random) * 2 - 1) for _ in range(2))
    flat = net((torch.rand(40, 3, 1, 1, generator=random) * 2 - 1).expand(-1, -1, 32, 32))
    assert noise.shape == (40, 160)
    stats = [feature_statistics(features.numpy()) for features in (noise, more, flat)]
    assert frechet_distance(stats[0], stats[2]) > 10 * frechet_distance(stats[0], stats[1])


def test_kernel_distance_of_three_points_by_hand():
    """D = 1, kernel (x y + 1)^3, one subset of everything: x in (0, 1), y in (1, 2)."""
    x, y = np.array([[0.0], [1.0]]), np.array([[1.0], [2.0]])
    # k(0, 1) = 1; k(1, 2) = 27; across: k(0, 1) = k(0, 2) = 1, k(1, 1) = 8, k(1, 2) = 27.
    expected = 1 + 27 - 2 * (1 + 1 + 8 + 27) / 4
    assert kernel_distance(x, y, subset_size=2, subsets=3).mean == pytest.approx(expected, abs=1e-12)


def test_kernel_distance_of_gaussians_is_the_expectation():
    """x ~ N(m, 1), D = 1: E k(x, x') follows from moments: 1 + 3 m^2 + 3 q^2 + c^2, q = m^2 + 1, c = m^3 + 3 m."""

    def moments(m):
        return np.array([1, m, m**2 + 1, m**3 + 3 * m])

    weights = np.array([1, 3, 3, 1])
    a, b = moments(0.0), moments(0.5)
    expected = (weights * (a - b) ** 2).sum()
    random = np.random.default_rng(0)
    x, y = random.normal(0, 1, (5_000, 1)), random.normal(0.5, 1, (5_000, 1))
    found = kernel_distance(x, y, subset_size=500, subsets=40)
    assert found.mean == pytest.approx(expected, abs=4 * found.std / np.sqrt(10))  # subsets overlap; ten are disjoint


@pytest.fixture(scope="module")
def clouds():
    random = np.random.default_rng(0)
    a, b = random.normal(0, 1, (300, 24)), random.gamma(2, 0.7, (280, 24))
    return a.astype(np.float32), b.astype(np.float32)


def test_agreement_with_torch_fidelity(clouds):
    tensors = [torch.from_numpy(cloud) for cloud in clouds]
    statistics = [fid_features_to_statistics(cloud) for cloud in tensors]
    fid = fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]
    assert frechet_distance(*map(feature_statistics, clouds)) == pytest.approx(fid, rel=1e-5)  # its means are float32
    kid = kid_features_to_metric(*tensors, kid_subset_size=100, verbose=False)
    found = kernel_distance(*clouds, subset_size=100)
    assert found.mean == pytest.approx(kid["kernel_inception_distance_mean"], rel=1e-5)
    assert found.std == pytest.approx(kid["kernel_inception_distance_std"], rel=1e-4)


def test_memory_does_not_grow_with_the_number_of_features(tmp_path):
    peaks = []
    for count in (4_000, 40_000):
        features = np.lib.format.open_memmap(tmp_path / f"{count}.npy", "w+", np.float32, (count, 32))
        features[:] = np.random.default_rng(0).random(32, np.float32)
        tracemalloc.start()
        frechet_distance(feature_statistics(features), feature_statistics(features[::-1]))
        kernel_distance(features, features, subsets=2, subset_size=500)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # A permutation of the rows' numbers, 8 bytes each and a copy, is all that grows; features have 128 bytes.
    assert peaks[1] - peaks[0] < 20 * 36_000


def test_too_few_images_for_a_subset(clouds):
    with pytest.raises(UserError, match=r"--kid_subset: expected 2 to 280, the number of images, found 1000"):
        kernel_distance(*clouds)
