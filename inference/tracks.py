"""Tracks of numbers and rotations in time: gaps filled, noise smoothed.

Rotations are averaged as rotations: the Gaussian mean of their matrices, projected back onto SO(3), is the rotation
nearest to all of them in the chordal sense; Euler angles are taken at the very end.
"""

from __future__ import annotations

import numpy as np
import roma
import torch
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation, Slerp


def between(values: np.ndarray, at: np.ndarray, times: np.ndarray) -> np.ndarray:
    """[T, C] at ``times`` [T], linearly between ``values`` [F, C] at the increasing times ``at`` [F]; the ends hold."""
    return np.stack([np.interp(times, at, column) for column in values.T], 1)


def between_rotations(rotations: np.ndarray, at: np.ndarray, times: np.ndarray) -> np.ndarray:
    """[T, J, 3, 3] at ``times`` [T], on the shortest arcs between ``rotations`` [F, J, 3, 3]; the ends hold."""
    if len(at) == 1:
        return np.repeat(rotations, len(times), 0)
    times = np.clip(times, at[0], at[-1])
    found = [Slerp(at, Rotation.from_matrix(joint))(times).as_matrix() for joint in rotations.swapaxes(0, 1)]
    return np.stack(found, 1)


def fill(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """[F, C] with rows that are not ``known`` [F] interpolated linearly; the ends hold."""
    return between(values[known], np.flatnonzero(known), np.arange(len(values)))


def fill_rotations(rotations: np.ndarray, known: np.ndarray) -> np.ndarray:
    """[F, J, 3, 3] with rows that are not ``known`` [F] on the shortest arcs between the others; the ends hold."""
    return between_rotations(rotations[known], np.flatnonzero(known), np.arange(len(rotations)))


def smooth(values: np.ndarray, sigma: float) -> np.ndarray:
    """[F, ...] under a Gaussian of ``sigma`` frames along the first axis; the ends hold; 0 leaves all as it is."""
    return gaussian_filter1d(values, sigma, axis=0, mode="nearest") if sigma > 0 else values


def smooth_rotations(rotations: np.ndarray, sigma: float) -> np.ndarray:
    """[F, J, 3, 3]: the chordal mean of the rotations under a Gaussian of ``sigma`` frames."""
    return roma.special_procrustes(torch.from_numpy(smooth(rotations, sigma))).numpy()


def to_eulers(rotations: np.ndarray) -> np.ndarray:
    """[F, J, 3, 3] -> [F, J, 3] with matrix = Rz(e0) Ry(e1) Rx(e2)."""
    eulers = roma.rotmat_to_euler("ZYX", torch.from_numpy(rotations).flatten(0, 1))
    return eulers.reshape(*rotations.shape[:2], 3).numpy()


def runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """First and last index of every run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(int)))
    return [(int(start), int(stop) - 1) for start, stop in edges.reshape(-1, 2)]
