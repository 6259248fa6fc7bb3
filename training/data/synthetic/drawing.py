"""Drawing people and coloured meshes: the portrait and face cameras and a vectorised z-buffer, in plain numpy.

Camera and pixel grid follow the method notes, section 2; a test holds them to ``networks.cameras``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np

from training.data.synthetic.mesh import MM, ColouredMesh, vertex_normals

if TYPE_CHECKING:
    from training.data.synthetic.person import PosedPerson

FACE_RADIUS = 0.52767998683149
FOV_DEGREES = 12.0
ORBIT_CENTRE = (0.0, (0.052552 - 0.067489409707008) / FACE_RADIUS + 0.01, -0.050608165033568 / FACE_RADIUS)
_TANGENT = math.tan(math.radians(FOV_DEGREES) / 2)
_SUPERSAMPLE = 2
_CHUNK = 2_000_000  # candidate (triangle, sample) pairs held at once


Angles: TypeAlias = Sequence[float] | np.ndarray  # (pitch, yaw) in radians


class Maps(NamedTuple):
    """Of the nearest surface that is drawn at a pixel's centre; beside the centre where it shows nothing there."""

    depth: np.ndarray  # [H, W] canonical units along the optical axis; 0 where nothing is
    normals: np.ndarray  # [H, W, 3] unit vectors in the camera's axes: x right, y up, z towards it; 0 where nothing is


class Picture(NamedTuple):
    image: np.ndarray  # [3, H, W] float32 in [-1, 1], white where nothing is
    alpha: np.ndarray  # [H, W] float32, covered share of the pixel
    depth: np.ndarray  # [H, W] float32, canonical units along the ray, averaged over the covered part; 0 where empty
    maps: Maps | None = None  # where they were asked for


class View(NamedTuple):
    """A pinhole camera: world = rotation @ camera + origin; the camera looks along its own -z."""

    rotation: np.ndarray  # [3, 3]
    origin: np.ndarray  # [3]


def camera_view(camera: Angles, camera_kind: str = "portrait", head_transform=None) -> View:
    """The camera for (pitch, yaw) in radians, frontal at (pi/2, pi/2).

    ``camera_kind`` "portrait" orbits the shifted centre at radius 1/face_radius; "face" orbits the canonical origin
    at radius 1 and is carried by ``head_transform`` [4, 4], the posed head's rigid transform (identity if None).
    """
    if camera_kind not in ("portrait", "face"):
        raise ValueError(f"camera_kind: expected 'portrait' or 'face', found {camera_kind!r}")
    pitch, yaw = (float(a) for a in camera)
    direction = np.array([math.sin(pitch) * math.cos(yaw), math.cos(pitch), math.sin(pitch) * math.sin(yaw)])
    forward = -direction
    left = np.cross((0.0, 1.0, 0.0), forward)
    left /= np.linalg.norm(left)
    up = np.cross(forward, left)
    up /= np.linalg.norm(up)
    rotation = np.stack([-left, up, -forward], 1)
    if camera_kind == "portrait":
        return View(rotation, direction / FACE_RADIUS + ORBIT_CENTRE)
    if head_transform is None:
        return View(rotation, direction)
    head = np.asarray(head_transform, np.float64)
    return View(head[:3, :3] @ rotation, head[:3, :3] @ direction + head[:3, 3])


def project(points: np.ndarray, view: View, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Points [P, 3] -> (pixel coordinates [P, 2] as (column, row), distance in front of the camera [P]).

    Pixel centres are the integers; column 0 is x = -1 and column size - 1 is x = 1 (ends included).
    """
    local = (points.astype(np.float64) - view.origin) @ view.rotation  # [P, 3]
    ahead = -local[:, 2]
    scale = 1.0 / math.tan(math.radians(FOV_DEGREES) / 2) / ahead
    column = (local[:, 0] * scale + 1.0) * 0.5 * (size - 1)
    row = (1.0 - local[:, 1] * scale) * 0.5 * (size - 1)
    return np.stack([column, row], 1), ahead


def rasterise(pixels: np.ndarray, ahead: np.ndarray, faces: np.ndarray, size: int):
    """Nearest front-facing triangle at every sample of a ``size`` x ``size`` grid.

    Args: pixels [V, 2] (column, row) in samples, ahead [V] > 0, faces [F, 3].
    Returns (sample [H] flat indices, face [H] indices, barycentric [H, 3] perspective-correct, ahead [H]) for the H hit
    samples. Ties go to the lower candidate, so that the result is the same on every run.
    """
    corners = np.ascontiguousarray(faces.T)
    (left, right), (top, bottom) = (_sample_range(pixels[:, axis], corners, size) for axis in (0, 1))
    front = np.nonzero((left <= right) & (top <= bottom))[0]  # small ones lie between the samples
    corners = corners.take(front, 1)
    (ax, bx, cx), (ay, by, cy) = (axis.take(corners) for axis in pixels.T)
    area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)  # rows go down, so a front face has area < 0
    kept = np.nonzero((area < -1e-9) & (ahead.take(corners) > 0).all(0))[0]
    setup = np.stack([ax, ay, bx - ax, by - ay, cx - ax, cy - ay, area])[:, kept]
    front = front[kept]
    left, top = left[front].astype(np.int64), top[front].astype(np.int64)
    width, height = right[front] - left + 1, bottom[front] - top + 1
    counts = width * height
    hit_parts, start = [], 0
    ends = np.cumsum(counts)
    while start < len(front):
        base = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, base + _CHUNK, "right")))
        part = slice(start, stop)
        triangle, sample, u, v, w = _inside(setup[:, part], counts[part], left[part], top[part], width[part], size)
        face = front[part][triangle]
        weights = np.stack([u, v, w], 1) / ahead.take(faces.take(face, 0))
        total = weights[:, 0] + weights[:, 1] + weights[:, 2]
        hit_parts.append((sample, face, weights / total[:, None], 1.0 / total))
        start = stop
    if not hit_parts:
        empty = np.zeros(0, np.int64)
        return empty, empty, np.zeros((0, 3)), np.zeros(0)
    sample, face, bary, depth = (np.concatenate(part) for part in zip(*hit_parts, strict=True))
    # Nearest wins: positive float32 bit patterns sort like the numbers; the low half breaks ties by order.
    keys = (depth.astype(np.float32).view(np.uint32).astype(np.int64) << 32) | np.arange(len(depth))
    nearest = np.full(size * size, np.iinfo(np.int64).max)
    np.minimum.at(nearest, sample, keys)
    hit = nearest[nearest != np.iinfo(np.int64).max] & 0xFFFFFFFF
    return sample[hit], face[hit], bary[hit], depth[hit]


def _sample_range(position: np.ndarray, corners: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """First and last sample [F] of a row or column of ``size`` within triangles; first > last where there is none.

    Args: position [V] along it, corners [3, F].
    """
    inside = np.clip(position, -1.0, size)
    first, last = np.ceil(inside).astype(np.int32), np.floor(inside).astype(np.int32)
    a, b, c = first.take(corners)
    first = np.maximum(np.minimum(np.minimum(a, b), c), 0)
    a, b, c = last.take(corners)
    return first, np.minimum(np.maximum(np.maximum(a, b), c), size - 1)


def _inside(setup, counts, left, top, width, size):
    """All samples inside some triangles: (triangle, sample, three screen barycentrics), each [H].

    ``setup`` [7, T]: first corner, the two edges from it, area; ``counts`` = samples in each bounding box.
    """
    triangle = np.repeat(np.arange(len(counts)), counts)
    local = np.arange(len(triangle)) - np.repeat(np.cumsum(counts) - counts, counts)
    wide = width.take(triangle)
    down = local // wide
    x = left.take(triangle) + local - down * wide
    y = top.take(triangle) + down
    ax, ay, bx, by, cx, cy, inverse_area = (row.take(triangle) for row in (*setup[:6], 1.0 / setup[6]))
    px, py = x - ax, y - ay
    v = (px * cy - py * cx) * inverse_area
    w = (bx * py - by * px) * inverse_area
    u = 1.0 - v - w
    inside = np.nonzero((u >= 0) & (v >= 0) & (w >= 0))[0]
    return triangle[inside], (y * size + x)[inside], u[inside], v[inside], w[inside]


def draw(
    person: PosedPerson,
    camera: Angles,
    size: int = 256,
    camera_kind: str = "portrait",
    head_transform: np.ndarray | None = None,
    *,
    maps: bool = False,
) -> Picture:
    """Draw a person on white.

    Args: camera (pitch, yaw) radians; size in pixels; camera_kind and head_transform as in :func:`camera_view`; whether
    to make maps, too. Every pixel is the mean of 2 x 2 samples. Returns a :class:`Picture`.
    Raises ValueError for a size below 2 or an unknown camera kind.
    """
    view = camera_view(camera, camera_kind, head_transform)
    orbit = 1.0 if camera_kind == "face" else 1.0 / FACE_RADIUS
    pixel = 2.0 * orbit * _TANGENT / size / MM
    canvas = _Canvas(view, size)
    if not maps:
        _cover(canvas, person, pixel)
        return canvas.picture()
    middle = _Canvas(view, size, supersample=1)
    normals = [vertex_normals(surface.vertices, surface.faces) @ view.rotation for surface in person.surfaces]
    for each in (canvas, middle):
        _cover(each, person, pixel, normals)
    return canvas.picture()._replace(maps=_front(canvas, middle))


def _cover(canvas: _Canvas, person: PosedPerson, pixel: float, normals: Sequence[np.ndarray] | None = None) -> None:
    """All surfaces of a person; with ``normals`` [N, 3] of each, what is in front is kept."""
    for layer, surface in enumerate(person.surfaces):
        sample, face, bary, ahead = canvas.hits(surface.vertices, surface.faces)
        corners = surface.faces.take(face, 0)
        attributes = sum(surface.attributes.take(corners[:, i], 0) * bary[:, i, None] for i in range(3))
        colour, alpha = person.shader(surface.materials.take(face), attributes, pixel)
        canvas.cover(sample, colour, alpha, ahead)
        if normals is not None:
            turned = sum(normals[layer].take(corners[:, i], 0) * bary[:, i, None] for i in range(3))
            canvas.keep_front(sample, alpha, ahead, turned)


def _front(fine: _Canvas, middle: _Canvas) -> Maps:
    """What ``middle`` has in front, and where that is nothing the nearest that ``fine`` has in the pixel."""
    size, per_side = fine.size, fine.supersample
    samples = np.arange(fine.fine**2).reshape(size, per_side, size, per_side).swapaxes(1, 2).reshape(size * size, -1)
    rim = samples[np.arange(size * size), fine.front[samples].argmin(1)]
    missed = ~np.isfinite(middle.front)
    depth = np.where(missed, fine.front[rim], middle.front)
    normals = np.where(missed[:, None], fine.normals[rim], middle.normals)
    normals /= np.sqrt((normals * normals).sum(1, keepdims=True) + 1e-30)
    depth[~np.isfinite(depth)] = 0.0
    return Maps(depth.reshape(size, size), normals.reshape(size, size, 3))


def draw_mesh(
    mesh: ColouredMesh, camera, size: int = 256, camera_kind: str = "portrait", head_transform=None
) -> Picture:
    """Draw a mesh by the colours of its vertices, as :func:`draw` does a person."""
    canvas = _Canvas(camera_view(camera, camera_kind, head_transform), size)
    sample, face, bary, ahead = canvas.hits(mesh.vertices, mesh.faces)
    corners = mesh.faces.take(face, 0)
    colour = sum(mesh.colours.take(corners[:, i], 0) * bary[:, i, None] for i in range(3))
    canvas.cover(sample, colour, np.ones(len(sample)), ahead)
    return canvas.picture()


class _Canvas:
    """Samples of a picture, covered layer by layer."""

    def __init__(self, view: View, size: int, supersample: int = _SUPERSAMPLE):
        if size < 2:
            raise ValueError(f"size: expected at least 2 pixels, found {size}")
        self.view, self.size, self.supersample, self.fine = view, size, supersample, size * supersample
        count = self.fine * self.fine
        self.colour, self.clear = (
            np.zeros((count, 3)),
            np.ones(count),
        )  # colours times their share; what is seen through
        self.ahead, self.depth = np.full(count, np.inf), np.zeros(count)  # of what is opaque; times shares, of all
        self.front, self.normals = np.full(count, np.inf), np.zeros((count, 3))  # of what keep_front was told of

    def hits(self, vertices: np.ndarray, faces: np.ndarray):
        """What samples see of a surface before what is opaque: :func:`rasterise`'s results."""
        pixels, ahead = project(vertices, self.view, self.size)
        samples = pixels * self.supersample + 0.5 * (self.supersample - 1)
        sample, face, bary, ahead = rasterise(samples, ahead, faces, self.fine)
        near = np.nonzero(ahead < self.ahead[sample])[0]
        return sample[near], face[near], bary[near], ahead[near]

    def cover(self, sample: np.ndarray, colour: np.ndarray, alpha: np.ndarray, ahead: np.ndarray) -> None:
        """Lay a layer over the picture: colours [H, 3] and shares [H] of samples, no sample twice."""
        through = 1.0 - alpha
        self.colour[sample] = self.colour[sample] * through[:, None] + colour * alpha[:, None]
        self.clear[sample] *= through
        # Distance along the (normalised) ray from the distance along the optical axis.
        place = (
            np.stack([sample % self.fine, sample // self.fine], 1) - 0.5 * (self.supersample - 1)
        ) / self.supersample
        tangent = (place / (self.size - 1) * 2.0 - 1.0) * _TANGENT
        along = ahead * np.sqrt(1.0 + (tangent * tangent).sum(1))
        self.depth[sample] = self.depth[sample] * through + along * alpha
        opaque = alpha > 0.5
        self.ahead[sample[opaque]] = ahead[opaque]

    def keep_front(self, sample: np.ndarray, alpha: np.ndarray, ahead: np.ndarray, normals: np.ndarray) -> None:
        """Note distance and normals [H, 3] of a layer where it is opaque, or where it is seen before nothing else."""
        drawn = np.nonzero((alpha > 0.5) | ((alpha > 0) & np.isinf(self.front[sample])))[0]
        self.front[sample[drawn]], self.normals[sample[drawn]] = ahead[drawn], normals[drawn]

    def picture(self) -> Picture:
        """Means over the samples of every pixel."""
        grid = (self.size, self.supersample, self.size, self.supersample)
        alpha, depth = (part.reshape(grid).mean((1, 3)) for part in (1.0 - self.clear, self.depth))
        colour = self.colour.reshape(*grid, 3).mean((1, 3)) + (1.0 - alpha)[:, :, None]
        return Picture(
            np.ascontiguousarray((colour * 2.0 - 1.0).clip(-1, 1).transpose(2, 0, 1), np.float32),
            alpha.astype(np.float32),
            (depth / np.maximum(alpha, 1e-12)).astype(np.float32),
        )
