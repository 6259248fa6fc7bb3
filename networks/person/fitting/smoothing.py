"""Numbers over time: all at once by how they can move and how sure they are, or one after the other while they come."""

from __future__ import annotations

import numpy as np
from scipy.linalg import solveh_banded

_SWEEPS = 12  # of active sets, see solve.py


def together(
    matrix: np.ndarray,
    slope: np.ndarray,
    acceleration: np.ndarray,
    speed: np.ndarray,
    bounds: tuple[float, float] = (-np.inf, np.inf),
) -> np.ndarray:
    """The course x [F, C] within bounds that minimises the sum over frames of x' M x / 2 - s' x, and keeps its speed.

    What a Kalman smoother finds (Rauch, Tung, Striebel 1965), as one banded system. Numbers that pictures tell only in
    sum, such as the turns of head and camera, are told apart by how they move.

    Args:
        matrix: [F, C, C] M, positive semidefinite; 0 for frames that tell nothing.
        slope: [F, C] s.
        acceleration, speed: [C] standard deviations of the change of speed, and of speed, per frame.
        bounds: of all numbers.
    """
    bands = _bands(matrix, acceleration, speed)
    x, right, free = np.zeros(slope.size).clip(*bounds), slope.ravel(), np.ones(slope.size, bool)
    for sweep in range(_SWEEPS):
        downhill = right - _times(bands, x)
        held = ((x <= bounds[0]) & (downhill < 0)) | ((x >= bounds[1]) & (downhill > 0))
        if sweep and np.array_equal(held, ~free):
            break
        free = ~held
        x = x + solveh_banded(_among(bands, free), downhill * free, lower=True)
        x = x.clip(*bounds)
    return x.reshape(slope.shape)


def _bands(matrix: np.ndarray, acceleration: np.ndarray, speed: np.ndarray) -> np.ndarray:
    """The system's lower diagonals [3 C, F C], as LAPACK stores them."""
    count, width = matrix.shape[:2]
    bands = np.zeros((3 * width, count * width))
    for row in range(width):
        for column in range(row + 1):
            bands[row - column, column::width] = matrix[:, row, column]
    for difference, deviation in (([-1.0, 1.0], speed), ([1.0, -2.0, 1.0], acceleration)):
        for a, first in enumerate(difference):
            for b, second in enumerate(difference[: a + 1]):
                diagonal = bands[(a - b) * width].reshape(count, width)
                diagonal[b : count - len(difference) + 1 + b] += first * second / deviation**2
    return bands[: count * width]


def _times(bands: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The product with a symmetric matrix of which ``bands`` are the lower diagonals."""
    out = bands[0] * x
    for below, diagonal in enumerate(bands[1:], 1):
        out[below:] += diagonal[:-below] * x[:-below]
        out[:-below] += diagonal[:-below] * x[below:]
    return out


def _among(bands: np.ndarray, free: np.ndarray) -> np.ndarray:
    """The bands with 1 on the diagonal, and 0 beside it, where a number is not free."""
    if free.all():
        return bands
    out = bands * free
    for below in range(1, len(bands)):
        out[below, :-below] *= free[below:]
    out[0, ~free] = 1
    return out


class OneEuro:
    """The one-euro filter (Casiez, Roussel, Vogel 2012): a low pass whose cutoff rises with speed, for numbers that are
    wanted at once.

    Args:
        still: hertz, the cutoff of what does not move.
        eager: hertz more for a change of 1 a second.
    """

    def __init__(self, still: float, eager: float) -> None:
        self._still, self._eager = still, eager
        self.forget()

    def forget(self) -> None:
        """Begin anew with the next numbers."""
        self._last: tuple[float, np.ndarray, np.ndarray] | None = None

    def __call__(self, values: np.ndarray, seconds: float) -> np.ndarray:
        """The numbers [C] that were measured at a time, smoothed by those before."""
        if self._last is None:
            self._last = seconds, values, np.zeros_like(values)
            return values
        then, before, speed = self._last
        step = max(seconds - then, 1e-3)
        speed = speed + _share(1.0, step) * ((values - before) / step - speed)
        smooth = before + _share(self._still + self._eager * np.abs(speed), step) * (values - before)
        self._last = seconds, smooth, speed
        return smooth


def _share(cutoff, step: float):
    """How much of a new number counts after ``step`` seconds under a cutoff in hertz."""
    return 1 / (1 + 1 / (2 * np.pi * cutoff * step))
