"""Bounded steps against scipy's."""

import numpy as np
import torch
from scipy.optimize import lsq_linear

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
