"""Eyeballs (white, iris, pupil, a fixed catch-light) and teeth with the dark of the mouth behind them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from training.data.synthetic.hair import noise
from training.data.synthetic.mesh import grid_faces, smoothstep

_SEGMENTS = 56
_PUPIL, _IRIS = np.radians(10.0), np.radians(30.0)  # half-angles as seen from the eyeball's centre
# Rings are dense where a colour edge lies.
_RINGS = np.radians(
    np.concatenate([[0.01], np.linspace(2, 8.5, 6), np.linspace(9.2, 11, 4), np.linspace(12.5, 26, 11),
                    np.linspace(27, 32.5, 8), np.linspace(35, 78, 14)])
)  # fmt: skip


TEETH = 97 * 12  # vertices of a row of teeth


class Patch(NamedTuple):
    vertices: np.ndarray  # [N, 3]
    faces: np.ndarray  # [F, 3]
    colours: np.ndarray  # [N, 3]; light included


def eyeball(centre: np.ndarray, radius: float, iris: np.ndarray, nose_side: float) -> Patch:
    """The front of an eyeball that looks along +z: centre [3], radius (canonical units), iris colour [3], and the sign
    of x towards the nose."""
    angle = np.linspace(0, 2 * np.pi, _SEGMENTS, endpoint=False)
    theta, phi = np.meshgrid(_RINGS, angle, indexing="ij")
    direction = np.stack([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)], -1)
    bulge = 1.0 + 0.012 * smoothstep(_IRIS * 1.15, 0.0, theta)  # cornea
    vertices = centre + radius * bulge[..., None] * direction
    # The inner corner reaches past the ball: there its edge flares into a sheet that closes the socket.
    flare = smoothstep(np.radians(58), np.radians(78), theta) * smoothstep(0.2, 0.8, nose_side * np.cos(phi))
    vertices[..., :2] += (radius * 0.36 * flare)[..., None] * direction[..., :2]
    vertices[..., 2] += radius * 0.30 * flare

    pink = smoothstep(np.radians(35), np.radians(75), theta)[..., None]
    white = np.array([0.93, 0.905, 0.885]) - pink * [0.06, 0.15, 0.14]
    spokes = 0.10 * noise(phi / (2 * np.pi), 40) + 0.08 * noise(phi / (2 * np.pi), 19)
    ring = smoothstep(_PUPIL, _IRIS, theta)
    inside = iris * (1.04 + spokes - 0.12 * ring)[..., None]
    inside = inside * (1 - 0.62 * smoothstep(_IRIS * 0.82, _IRIS, theta))[..., None]  # dark rim
    # Light from above is refracted into the lower half.
    inside = inside * (1.0 - 0.25 * np.sin(phi) * np.sin(theta) / np.sin(_IRIS))[..., None]
    colour = white + (inside - white) * smoothstep(_IRIS * 1.05, _IRIS * 0.97, theta)[..., None]
    colour = colour + (0.02 - colour) * smoothstep(_PUPIL * 1.08, _PUPIL * 0.94, theta)[..., None]
    lid_shadow = smoothstep(0.10, 0.48, direction[..., 1])
    colour = colour * (1 - 0.50 * lid_shadow - 0.10 * smoothstep(-0.1, -0.5, direction[..., 1]))[..., None]
    spot = np.array([-0.19, 0.22, 1.0])
    spot /= np.linalg.norm(spot)
    near = np.arccos(np.clip(direction @ spot, -1, 1))
    colour = colour + (1.0 - colour) * (0.95 * smoothstep(np.radians(6.2), np.radians(3.6), near))[..., None]
    socket = smoothstep(np.radians(56), np.radians(64), theta)[..., None]
    colour = colour + (np.array([0.60, 0.36, 0.33]) - colour) * socket
    return Patch(
        vertices.reshape(-1, 3),
        grid_faces(len(_RINGS), _SEGMENTS, wrap=True),
        np.clip(colour.reshape(-1, 3), 0, 1),
    )


def teeth(mouth: np.ndarray, half_width: float, upper: bool) -> Patch:
    """A row of teeth on an arch behind the lip line: ``mouth`` [3] the middle of the lip line, ``half_width`` of it."""
    u = np.linspace(-1, 1, 97)
    v = np.linspace(0, 1, TEETH // 97)  # gum to edge
    uu, vv = np.meshgrid(u, v)
    mm = 0.001 / 1.1775
    height = (9.0 if upper else 8.0) * mm
    sign = 1.0 if upper else -1.0
    x = uu * half_width * (0.82 if upper else 0.76)
    arch = (uu**2) * 16.0 * mm
    back = (6.0 if upper else 7.2) * mm
    edge = (2.4 if upper else -2.6) * mm  # upper teeth reach below the lip line, covering the lower ones' tips
    tooth = uu * 4.6  # about nine visible
    scallop = np.abs(((tooth + 0.5) % 1.0) - 0.5) * 2  # 1 at the gap
    y = mouth[1] + sign * (height * (1 - vv) + 0.7 * mm * scallop**3 * vv) - sign * edge
    z = mouth[2] - back - arch + 0.35 * mm * (1 - scallop) - (2.5 if upper else 6.0) * mm * (1 - vv)  # gums recede
    vertices = np.stack([mouth[0] + x, y, z], -1)
    shade = (0.96 - 0.10 * scallop**6 - 0.45 * smoothstep(0.5, 1.0, np.abs(uu))) * (1 - 0.10 * (1 - vv))
    colour = shade[..., None] * (np.array([0.97, 0.94, 0.88]) if upper else np.array([0.86, 0.82, 0.76]))
    colour = colour * (1 - smoothstep(0.6, 1.0, np.abs(uu))[..., None] * np.array([0.1, 0.45, 0.45]))
    gum = smoothstep(0.30, 0.12, vv - 0.06 * (1 - scallop))[..., None]
    colour = colour * (1 - gum) + gum * np.array([0.60, 0.30, 0.30]) * shade[..., None]
    faces = grid_faces(len(v), len(u), wrap=False)
    if not upper:
        faces = faces[:, ::-1]
    return Patch(vertices.reshape(-1, 3), faces, np.clip(colour.reshape(-1, 3), 0, 1))


def cavity(mouth: np.ndarray, half_width: float) -> Patch:
    """The dark inside of the mouth behind the teeth, with a hint of tongue."""
    u, v = np.meshgrid(np.linspace(-1.5, 1.5, 25), np.linspace(1, -1, 21))
    mm = 0.001 / 1.1775
    depth = (14.0 + 12.0 * u * u + 5.0 * (1 - v * v) + 11.0 * smoothstep(-0.45, -1.0, v)) * mm
    x, y = u * half_width * 1.05, v * 17.0 * mm - 4.0 * mm
    tongue = smoothstep(0.0, -0.35, v) * smoothstep(-0.95, -0.6, v) * smoothstep(0.75, 0.2, np.abs(u))
    colour = np.array([0.13, 0.035, 0.035]) + tongue[..., None] * np.array([0.30, 0.13, 0.13])
    vertices = np.stack([mouth[0] + x, mouth[1] + y, mouth[2] - depth + 4.0 * mm * tongue], -1)
    return Patch(vertices.reshape(-1, 3), grid_faces(21, 25, wrap=False), colour.reshape(-1, 3))
