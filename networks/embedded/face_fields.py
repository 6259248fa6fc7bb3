"""Smooth displacement fields that the face's bases are made of (upright metres)."""

import numpy as np

from networks.embedded.face_parts import EAR_PART, FaceMesh
from networks.embedded.sdf import smoothstep


def blob(points: np.ndarray, centre, size) -> np.ndarray:
    """Gaussian bump exp(-|(p - centre) / size|^2), [N]; `size` may differ by axis."""
    q = (points - np.asarray(centre)) / np.asarray(size)
    return np.exp(-(q * q).sum(1))


def edge_fade(mesh: FaceMesh) -> np.ndarray:
    """0 at the face's outer edge and on the ears, 1 from 21 mm inside it: the edge stays on the body's head, [N]."""
    fade = smoothstep(0.0, 0.021, mesh.boundary)
    return np.where(mesh.part == EAR_PART, 0.0, fade)


def harmonics(points: np.ndarray, order: int, antisymmetric: bool) -> np.ndarray:
    """A smooth vector field of length <= 1 whose waves shorten slowly with `order`, [N, 3].

    Wavelengths fall from about 20 cm to 7 cm, so nothing as small as a lid or lip is torn.
    """
    x, y, z = ((points - (0.0, 0.43, 0.07)) / 0.1).T
    phase = 2.399963 * order  # golden angle: no two orders alike
    wave = 2.2 + 0.10 * order
    direction = np.array([np.cos(phase), np.sin(phase)])
    along = np.cos(wave * (direction[0] * np.abs(x) * 0.8 + direction[1] * y) + phase)
    axis = order % 3
    out = np.zeros_like(points)
    soft_side = np.tanh(x / 0.25)
    if axis == 0:
        out[:, 0] = along * (1.0 if antisymmetric else soft_side)
    else:
        out[:, axis] = along * (soft_side if antisymmetric else 1.0)
    return out
