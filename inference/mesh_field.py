"""The opacity that views of a posed person accumulate, as one field over space, and the surface in it.

Each view says how much opacity its ray has accumulated up to a point. Views that see the point, or past it, are
averaged; one from which it is hidden has no say (so are distance maps fused by Curless and Levoy 1996). The least of
them (Yu et al. 2024, Gaussian Opacity Fields) would follow those that look between the manifolds. Lengths are canonical
units.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from skimage.measure import marching_cubes
from torch import Tensor
from torch.nn import functional as F

from networks.cameras import PORTRAIT_CAMERA, cast_rays, project
from networks.manifold.generator import upsample_crossings
from networks.manifold.maps import lookup_manifolds

if TYPE_CHECKING:
    from inference.arguments import Quality
    from inference.person import Person
    from inference.pipeline import PortraitPipeline

CAMERA = PORTRAIT_CAMERA
LEVEL = 0.5  # accumulated opacity of the surface
# Cameras around the one that is asked for, (pitch, yaw) in radians: about as far as those of the training images go.
AROUND = tuple((pitch, yaw) for pitch in (-0.25, 0.0, 0.25) for yaw in (-0.45, -0.25, 0.0, 0.25, 0.45))
SEEN_VOXELS = 2.0  # a view sees a vertex that is no farther than this from the depth it rendered there
MIN_COSINE = 0.15  # and whose normal is less than 81 degrees from the line of sight
HIDDEN_VOXELS = 1.5  # a view has a full say up to so far behind its depth, and none beyond twice that
SMOOTHING = 0.7  # voxels, of the field: less than the steps between manifolds
EVEN_STEPS = 8  # edges that even_out reaches
WHITE = 0.95  # least channel of a backdrop's colour
POINTS_AT_A_TIME = 1 << 20


class View(NamedTuple):
    camera: Tensor  # [1, 2] pitch, yaw
    colour: Tensor  # [3, H, W] in 0..1, times alpha: over black
    alpha: Tensor  # [H, W]
    depth: Tensor  # [H, W] along the ray
    opacity: Tensor  # [D, H, W] accumulated from near to far


class Mesh(NamedTuple):
    """A surface in posed space: y up, +z out of the face, 1 unit = 1.1775 m; counter-clockwise seen from outside."""

    vertices: np.ndarray  # [V, 3] float32
    faces: np.ndarray  # [F, 3] int32
    colours: np.ndarray  # [V, 3] uint8


class Still(NamedTuple):
    """What a person does in one frame."""

    expression: Tensor  # [64]
    joint_eulers: Tensor  # [6, 3] radians
    camera: Tensor  # [2] pitch, yaw


@torch.inference_mode()
def extract_mesh(
    pipe: PortraitPipeline,
    person: Person,
    still: Still,
    resolution: int,
    quality: Quality = "fast",
    *,
    backdrop: bool = False,
) -> Mesh:
    """The surface of a posed person that the camera, and others AROUND it, see; open where none of them looks.

    Args:
        still: pose, expression, and the camera in the middle.
        resolution: voxels along the longest side.
        quality: of Person.render: how crossings are found.
        backdrop: keep white surfaces that reach the mesh's edge. A model of people on white may paint it: its
            discriminators could not tell it from nothing.

    Raises:
        ValueError: there is no surface.
    """
    still = Still(*(part.to(pipe.device) for part in still))
    views = [look(pipe, person, still, camera, resolution, quality) for camera in cameras_around(still.camera)]
    return fuse(views, resolution, backdrop=backdrop)


def fuse(views: Sequence[View], resolution: int, *, backdrop: bool = False) -> Mesh:
    """The surface that views see; see :func:`extract_mesh`."""
    surface = torch.cat([_surface_points(view) for view in views])
    if not len(surface):
        raise ValueError("no pixel is opaque")
    low, high = surface.amin(0), surface.amax(0)
    voxel = ((high - low).max() / (resolution - 1)).item()
    sizes = [int(n) + 5 for n in ((high - low) / voxel).tolist()]  # two voxels of margin
    low = low - 2 * voxel
    field, covered = opacity_field(views, low, voxel, sizes)
    found = marching_cubes(
        gaussian_filter(field, SMOOTHING), LEVEL, spacing=(voxel,) * 3, mask=covered, gradient_direction="ascent"
    )
    vertices, normals = (torch.from_numpy(found[i].copy()).to(low) for i in (0, 2))
    faces = found[1]
    vertices += low
    painted = paint(views, vertices, normals, SEEN_VOXELS * voxel)
    seen, colours = even_out(faces, *(part.cpu().numpy() for part in painted))
    faces = faces[seen[faces].all(1)]
    if not len(faces):
        raise ValueError("no surface is seen from where it faces")
    kept = largest_component(faces if backdrop else without_backdrop(faces, colours))
    index, faces = np.unique(kept, return_inverse=True)
    return Mesh(
        vertices.cpu().numpy()[index].astype(np.float32),
        faces.reshape(-1, 3).astype(np.int32),
        np.round(255 * colours.clip(0, 1)).astype(np.uint8)[index],
    )


def cameras_around(camera: Tensor) -> list[Tensor]:
    """The cameras [2] of the views: AROUND one."""
    limits = torch.tensor([0.05, torch.pi - 0.05], device=camera.device)  # of pitch: at the poles there is no up
    found = [camera + torch.tensor(offset, device=camera.device) for offset in AROUND]
    return [torch.stack([one[0].clamp(*limits), one[1]]) for one in found]


def look(pipe: PortraitPipeline, person: Person, still: Still, camera: Tensor, planes: int, quality: Quality) -> View:
    """One view, its accumulated opacity at ``planes`` depths."""
    generator, latents, camera = pipe.generator, person.latents, camera[None]
    size = generator.config.lowres_size
    moved = (latents.z_id, still.expression[None], latents.betas, still.joint_eulers[None])
    if quality == "fast":
        points = pipe.fast_renderer.trace(*moved, camera)
    else:
        points = generator.trace(*moved, cast_rays(camera, CAMERA, size), CAMERA)
    points = upsample_crossings(points, size)
    rgba = lookup_manifolds(person.manifolds.high, points.canonical)
    image, alpha, depth = (part[0] for part in generator.composite(rgba, points, camera, CAMERA))
    colour = 0.5 + 0.5 * image - (1 - alpha)
    at = torch.linspace(CAMERA.near, CAMERA.far, planes, device=camera.device)
    opacity = accumulated_opacity(rgba[0, ..., 3] * points.valid[0], points.depth[0], points.valid[0] > 0, at)
    return View(camera, colour, alpha, depth, opacity.T.unflatten(1, alpha.shape))


def accumulated_opacity(alpha: Tensor, depth: Tensor, valid: Tensor, at: Tensor) -> Tensor:
    """Opacity 1 - T accumulated along rays up to the depths ``at`` [D] -> [R, D].

    Crossings add their shares T_i alpha_i in steps. Between them it is made to rise linearly, from the middle of one
    step to the middle of the next: half of it is reached at the crossing itself where a single one is opaque, and
    where two share a pixel, at their mean depth, as rendered.

    Args:
        alpha, depth, valid: [R, K] of the crossings, in any order.
        at: [D], evenly spaced, increasing.
    """
    step = at[1] - at[0]
    last = torch.where(valid, depth, at[0]).amax(-1, keepdim=True)
    depth, order = torch.where(valid, depth, last + step).sort(-1)
    alpha = torch.where(valid, alpha, 0.0).gather(-1, order)
    clear = torch.cumprod(1 - alpha, -1)
    before = F.pad(1 - clear, (1, 0))[:, :-1]
    middle = 0.5 * (before + 1 - clear)
    depths = torch.cat([depth[:, :1] - step, depth, depth[:, -1:] + step], -1)  # [R, K + 2]
    values = torch.cat([torch.zeros_like(middle[:, :1]), middle, 1 - clear[:, -1:]], -1)
    result = []
    for d, v in zip(depths.split(1 << 14), values.split(1 << 14), strict=True):
        right = torch.searchsorted(d, at.expand(len(d), -1).contiguous()).clamp(1, d.shape[1] - 1)
        (d0, d1), (v0, v1) = ((part.gather(1, right - 1), part.gather(1, right)) for part in (d, v))
        result.append(torch.lerp(v0, v1, ((at - d0) / (d1 - d0).clamp_min(1e-9)).clamp(0, 1)))
    return torch.cat(result)


def opacity_field(
    views: Sequence[View], low: Tensor, voxel: float, sizes: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """The opacity at the nodes of a grid, and which of them a view covers: two [X, Y, Z].

    Args:
        low: [3] the first node. voxel: from each node to the next. sizes: X, Y, Z.
    """
    axes = [torch.arange(n, device=low.device) * voxel for n in sizes]
    points = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3) + low
    opacities, covers = [], []
    for part in points.split(POINTS_AT_A_TIME):
        total, weights, covered = (torch.zeros_like(part[:, 0]) for _ in range(3))
        for view in views:
            found, behind, inside = _ask(view, part)
            weight = inside * (2 - behind / (HIDDEN_VOXELS * voxel)).clamp(0, 1)
            total += weight * found
            weights += weight
            covered += inside
        opacities.append(torch.where(weights > 0, total / weights.clamp_min(1e-6), 1.0))  # hidden from all: inside
        covers.append(covered > 0)
    opacity, cover = (torch.cat(parts).reshape(*sizes).cpu().numpy() for parts in (opacities, covers))
    return opacity, cover


def _ask(view: View, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What a view knows about points [N, 3]: opacity up to them, how far they are behind its depth, if it covers them.

    Where a ray meets nothing, its depth is the far end.
    """
    place = project(points[None], view.camera, CAMERA)[0]
    along = 2 * (place[:, 2] - CAMERA.near) / (CAMERA.far - CAMERA.near) - 1
    grid = torch.stack([place[:, 0], -place[:, 1], along], -1)[None, None, None]
    opacity = F.grid_sample(view.opacity[None, None], grid, align_corners=True, padding_mode="border").flatten()
    surface = torch.where(view.alpha > LEVEL, view.depth, CAMERA.far)[None, None]
    depth = F.grid_sample(surface, grid[0, ..., :2], align_corners=True).flatten()
    return opacity, place[:, 2] - depth, (place[:, :2].abs() <= 1).all(-1)


def paint(views: Sequence[View], vertices: Tensor, normals: Tensor, tolerance: float) -> tuple[Tensor, Tensor]:
    """How well vertices are seen [V], 0 where by no view, and their colours [V, 3]: of the views that face them most.

    Args:
        vertices, normals: [V, 3]; normals point out, unit length.
        tolerance: how far from a view's depth a vertex may be.
    """
    total, colours = torch.zeros_like(vertices[:, 0]), torch.zeros_like(vertices)
    for view in views:
        place = project(vertices[None], view.camera, CAMERA)[0]
        maps = torch.cat([view.colour, view.alpha[None], view.depth[None]])
        grid = place[None, None, :, :2] * place.new_tensor([1.0, -1.0])  # rows run down
        found = F.grid_sample(maps[None], grid, align_corners=True)[0, :, 0]  # [5, V]; nothing outside
        origin = cast_rays(view.camera, CAMERA, 2).origins[0, 0]
        cosine = (F.normalize(origin - vertices, dim=-1) * normals).sum(-1)
        visible = ((found[4] - place[:, 2]).abs() < tolerance) & (found[3] > LEVEL) & (cosine > MIN_COSINE)
        weight = visible * cosine.clamp_min(0) ** 8  # hardly a blend, but without seams
        total += weight
        colours += (weight / found[3].clamp_min(LEVEL))[:, None] * found[:3].T
    return total, colours / total.clamp_min(1e-20)[:, None]


def even_out(faces: np.ndarray, weights: np.ndarray, colours: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which vertices most of the neighbourhood is seen of [V], and their colours [V, 3], of neighbours where unseen.

    So that the border of what is seen is a line, not a fringe, and there are no pinholes.
    """
    count = len(weights)
    pairs = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    pairs = np.concatenate([pairs, pairs[:, ::-1], np.repeat(np.arange(count)[:, None], 2, 1)])
    near = coo_array((np.ones(len(pairs), np.float32), pairs.T), shape=(count, count)).tocsr()
    seen = weights > 0
    share, total, blend = seen.astype(np.float32), seen * 1.0, colours * seen[:, None]
    degree = near.sum(1)
    for _ in range(EVEN_STEPS):
        share = (near @ share) / degree
        total, blend = (near @ total) / degree, (near @ blend) / degree[:, None]
    colours = np.where(seen[:, None], colours, blend / np.maximum(total, 1e-20)[:, None])
    return share > 0.5, colours


def without_backdrop(faces: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """The faces [F, 3] without connected white parts that reach the surface's edge; all of them if none would be left.

    Args:
        colours: of the vertices, [V, 3] in 0..1.
    """
    white = (colours.min(1) > WHITE)[faces].all(1)
    pairs = np.concatenate([faces[:, :2], faces[:, 1:], faces[:, ::2]])
    sides, uses = np.unique(np.sort(pairs, 1), axis=0, return_counts=True)
    inside = pairs[np.tile(white, 3)]  # edges of white faces
    graph = coo_array((np.ones(len(inside)), inside.T), shape=2 * (len(colours),))
    _, part = connected_components(graph, directed=False)  # every other vertex is a part by itself
    reaching = np.unique(part[sides[uses == 1]])
    kept = faces[~(white & np.isin(part[faces[:, 0]], reaching))]
    return kept if len(kept) else faces


def largest_component(faces: np.ndarray) -> np.ndarray:
    """The faces [F, 3] of the connected part that has most of them."""
    edges = np.concatenate([faces[:, :2], faces[:, 1:]])
    count = faces.max() + 1
    _, label = connected_components(coo_array((np.ones(len(edges)), edges.T), shape=(count, count)), directed=False)
    of_faces = label[faces[:, 0]]
    return faces[of_faces == np.bincount(of_faces).argmax()]


def _surface_points(view: View) -> Tensor:
    """Points [N, 3] where a view's pixels are opaque."""
    rays = cast_rays(view.camera, CAMERA, view.alpha.shape[-1])
    solid = view.alpha.flatten() > LEVEL
    return (rays.origins[0] + rays.directions[0] * view.depth.flatten()[:, None])[solid]
