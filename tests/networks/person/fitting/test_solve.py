"""Bounded steps against scipy's, and smoothing against the least squares it stands for."""

import numpy as np
import torch
from scipy.optimize import lsq_linear

from networks.person.fitting.smoothing import OneEuro, noise_of, smoothed
from networks.person.fitting.solve import bounded_step, solve_free


def make_problems(count=6, width=12, seed=0):
    rng = np.random.default_rng(seed)
    a, b = rng.standard_normal((count, 20, width)), rng.standard_normal((count, 20))
    least = np.where(rng.random((count, width)) < 0.7, -0.1 * rng.random((count, width)), -np.inf)
    most = np.where(rng.random((count, width)) < 0.5, 0.05, np.inf)
    least[0], most[1] = 0.0, 0.0
    return a, b, least, most


def test_bounded_step_is_scipys():
    a, b, least, most = make_problems()
    matrix, gradient = torch.from_numpy(a.swapaxes(1, 2) @ a), torch.from_numpy(-np.einsum("fnc,fn->fc", a, b))
    x, free = bounded_step(matrix, gradient, torch.from_numpy(least), torch.from_numpy(most))
    for row in range(len(a)):
        bounds = (least[row] - 1e-12, most[row] + 1e-12)  # scipy wants room between them
        expected = lsq_linear(a[row], b[row], bounds, method="bvls").x
        np.testing.assert_allclose(x[row], expected, atol=1e-8)  # float64, condition below 1e3
    slope = (matrix @ x[..., None]).squeeze(-1) + gradient
    assert slope[free].abs().max() < 1e-9  # where nothing holds, nothing pushes
    assert (free.sum(1) < 12).any()


def test_bounded_step_without_bounds_is_a_solve():
    a, b, *_ = make_problems()
    matrix, gradient = torch.from_numpy(a.swapaxes(1, 2) @ a), torch.from_numpy(-np.einsum("fnc,fn->fc", a, b))
    far = torch.full_like(gradient, torch.inf)
    x, free = bounded_step(matrix, gradient, -far, far)
    torch.testing.assert_close(x, -torch.linalg.solve(matrix, gradient), rtol=1e-9, atol=1e-9)
    assert free.all()


def test_solve_free_leaves_the_others_at_zero():
    matrix = torch.tensor([[[4.0, 1.0], [1.0, 3.0]]], dtype=torch.float64)
    right, free = torch.tensor([[[8.0], [5.0]]], dtype=torch.float64), torch.tensor([[True, False]])
    torch.testing.assert_close(solve_free(matrix, right, free), torch.tensor([[[2.0], [0.0]]], dtype=torch.float64))


def dense_course(values, variance, acceleration, known):
    """The same course as one least-squares problem over places and speeds."""
    count = len(values)
    rows, targets = [], []
    for frame in np.flatnonzero(known):
        row = np.zeros(2 * count)
        row[2 * frame] = variance[frame] ** -0.5
        rows.append(row)
        targets.append(values[frame] * variance[frame] ** -0.5)
    root = np.linalg.inv(np.linalg.cholesky(acceleration**2 * np.array([[1 / 3, 1 / 2], [1 / 2, 1.0]])))
    for frame in range(count - 1):
        block = np.zeros((2, 2 * count))
        block[:, 2 * frame : 2 * frame + 2] = -np.array([[1.0, 1.0], [0.0, 1.0]])
        block[:, 2 * frame + 2 : 2 * frame + 4] = np.eye(2)
        rows.extend(root @ block)
        targets += [0.0, 0.0]
    return np.linalg.lstsq(np.array(rows), np.array(targets), rcond=None)[0][::2]


def test_smoothed_is_the_least_squares_course():
    rng = np.random.default_rng(3)
    values, variance = rng.standard_normal((30, 2)), rng.uniform(0.5, 2.0, (30, 2))
    known = np.ones(30, bool)
    known[[0, 10, 11, 12, 29]] = False
    acceleration = np.array([0.05, 0.4])
    found = smoothed(values, variance, acceleration, known)
    for column in range(2):
        expected = dense_course(values[:, column], variance[:, column], acceleration[column], known)
        np.testing.assert_allclose(
            found[:, column], expected, atol=0.02
        )  # the start's place and speed have a wide prior


def test_smoothed_goes_straight_through_gaps():
    values = np.linspace(0.0, 3.0, 31)[:, None]
    known = np.ones(31, bool)
    known[8:20] = False
    found = smoothed(
        np.where(known[:, None], values, np.nan_to_num(np.inf)), np.full((31, 1), 1e-4), np.array([1e-3]), known
    )
    np.testing.assert_allclose(found, values, atol=1e-3)


def test_noise_of_leaves_motion_aside():
    rng = np.random.default_rng(0)
    time = np.arange(500) / 25
    motion = np.sin(2 * np.pi * 0.5 * time) + (np.arange(500) % 100 < 4)  # a swing, and a jump now and then
    found = noise_of((motion + 0.05 * rng.standard_normal(500))[:, None], np.ones(500, bool))
    assert abs(found[0] - 0.05) < 0.01  # 500 samples: a median within a tenth
    assert noise_of(motion[:3, None], np.ones(3, bool)) == 0


def test_one_euro_by_hand():
    smooth = OneEuro(still=1.0, eager=0.0)
    assert smooth(np.array([2.0]), 0.0) == 2.0
    share = 1 / (1 + 1 / (2 * np.pi * 0.1))
    np.testing.assert_allclose(smooth(np.array([3.0]), 0.1), 2 + share)
    smooth.forget()
    assert smooth(np.array([7.0]), 0.2) == 7.0


def test_one_euro_calms_what_is_still_and_follows_what_moves():
    rng, smooth = np.random.default_rng(0), OneEuro(still=1.0, eager=4.0)
    noisy = 0.02 * rng.standard_normal(200)
    calm = np.array([smooth(np.array([value]), i / 25)[0] for i, value in enumerate(noisy)])
    assert calm[50:].std() < 0.5 * noisy[50:].std()
    smooth.forget()
    step = [smooth(np.array([float(i >= 5)]), i / 25)[0] for i in range(15)]
    assert step[7] > 0.8  # three frames after a jump
