"""Numbers over time, smoothed by how they can move and how sure they are (Rauch, Tung, Striebel 1965).

Every number goes on as fast as it goes, but for a random acceleration: a Kalman filter forwards and the smoother
backwards give what is likeliest given all frames, frames without a measurement included.
"""

from __future__ import annotations

import numpy as np


def smoothed(values: np.ndarray, variance: np.ndarray, acceleration: np.ndarray, known: np.ndarray) -> np.ndarray:
    """The likeliest course [F, C] of numbers that were measured frame by frame.

    Args:
        values: [F, C] measured; anything in frames that are not ``known``.
        variance: [F, C] of the measurements.
        acceleration: [C] standard deviation of the change of speed, per frame squared.
        known: [F] bool, at least one of them.
    """
    count, width = values.shape
    steps = np.array([[1.0, 1.0], [0.0, 1.0]])
    noise = np.array([[1 / 3, 1 / 2], [1 / 2, 1.0]]) * (acceleration**2)[:, None, None]  # [C, 2, 2]
    first = int(np.argmax(known))
    state = np.stack([values[first], np.zeros(width)], -1)  # [C, 2] place and speed
    spread = np.zeros((width, 2, 2))
    spread[:, 0, 0] = variance[first] + 1e6 * acceleration**2
    spread[:, 1, 1] = 1e4 * acceleration**2
    states, spreads, before = [], [], []
    for frame in range(count):
        before.append((state, spread))
        if known[frame]:
            gain = spread[:, :, 0] / (spread[:, 0, 0] + variance[frame])[:, None]  # [C, 2]
            state = state + gain * (values[frame] - state[:, 0])[:, None]
            spread = spread - gain[:, :, None] * spread[:, None, 0]
        states.append(state)
        spreads.append(spread)
        state, spread = state @ steps.T, steps @ spread @ steps.T + noise
    out = np.empty((count, width))
    later = states[-1]
    out[-1] = later[:, 0]
    for frame in range(count - 2, -1, -1):
        predicted, predicted_spread = before[frame + 1]
        back = spreads[frame] @ steps.T @ np.linalg.inv(predicted_spread)
        later = states[frame] + (back @ (later - predicted)[..., None]).squeeze(-1)
        out[frame] = later[:, 0]
    return out


def noise_of(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Standard deviation [C] of the noise of measurements [F, C]: the median size of third differences, which slow
    motions do not have and quick ones, such as blinks, have too seldom to count."""
    third = np.diff(values, 3, axis=0)
    whole = np.convolve(known, np.ones(4), "valid") == 4  # no gap among the four
    if not whole.any():
        return np.zeros(values.shape[1])
    return np.median(np.abs(third[whole]), 0) / (0.6745 * np.sqrt(20.0))


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
