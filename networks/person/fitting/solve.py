"""Least squares with bounds, many small problems at once."""

from __future__ import annotations

import torch
from torch import Tensor

SWEEPS = 12  # of active sets; most problems need three


def bounded_step(matrix: Tensor, gradient: Tensor, least: Tensor, most: Tensor) -> tuple[Tensor, Tensor]:
    """The steps x that minimise x' H x / 2 + g' x within bounds, by projected Newton steps (Bertsekas 1982).

    Args:
        matrix: [F, C, C] H, positive definite.
        gradient: [F, C] g.
        least, most: [F, C] bounds of x, least <= 0 <= most; infinite where there is none.

    Returns:
        x [F, C], and which of its entries are free [F, C] bool, not held by a bound.
    """
    x = torch.zeros_like(gradient)
    free = torch.ones_like(gradient, dtype=torch.bool)
    for sweep in range(SWEEPS):
        slope = (matrix @ x[..., None]).squeeze(-1) + gradient
        held = ((x <= least) & (slope > 0)) | ((x >= most) & (slope < 0))
        if sweep and torch.equal(held, ~free):
            break
        free = ~held
        step = solve_free(matrix, -slope[..., None], free).squeeze(-1)
        x = torch.minimum(torch.maximum(x + step, least), most)
    return x, free


def solve_free(matrix: Tensor, right: Tensor, free: Tensor) -> Tensor:
    """H^-1 right [F, C, R] among the entries that are ``free`` [F, C]; 0 for the others."""
    rows = free[..., None].to(matrix.dtype)
    kept = matrix * rows * rows.mT + torch.diag_embed(1 - rows.squeeze(-1))
    return torch.cholesky_solve(right * rows, torch.linalg.cholesky(kept))
