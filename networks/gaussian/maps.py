"""The canonical maps: which Gaussians there are, one for every covered pixel of a body's front and back view."""

from typing import NamedTuple

import torch
from scipy.spatial import cKDTree
from torch import Tensor, nn

from torch_utils.misc import UserError
from torch_utils.ops.ortho_map import OrthoMap, ortho_map

NEIGHBOURS = 3  # whose mean squared distance is a Gaussian's variance at first
LEAST_VARIANCE = 1e-7
ANY = torch.finfo(torch.float32).max  # a coefficient without bounds, in files, which hold finite numbers alone


class Template(NamedTuple):
    """A body in its canonical pose, any mesh; lengths in the unit of the avatar's cameras."""

    vertices: Tensor  # [V, 3]
    faces: Tensor  # [F, 3] int64
    lbs_weights: Tensor  # [V, J]
    expression_basis: Tensor  # [V, 3, E] displacement by a coefficient of 1; E may be 0
    # [V, 3] as the maps are drawn, where that is not in the canonical pose's neutral face: with an open mouth, whose
    # lips would share pixels else, and whose inside would have no Gaussians.
    drawn: Tensor | None = None
    most: Tensor | None = None  # [E] of every coefficient that has an effect: lids stop where they meet

    def normals(self) -> Tensor:
        """Unit normals of the vertices [V, 3], faces weighted by area."""
        a, b, c = self.vertices[self.faces].unbind(1)
        normals = torch.zeros_like(self.vertices)
        for corner in self.faces.unbind(1):
            normals.index_add_(0, corner, torch.linalg.cross(b - a, c - a))
        return nn.functional.normalize(normals, dim=-1)


class Fovea(NamedTuple):
    """Where maps are finest: at a distance d from it pixels are sqrt(1 + (d / radius)^2) times as far apart."""

    centre: tuple[float, float]
    radius: float


class Window(NamedTuple):
    """What the maps span: a square of x and y."""

    centre: tuple[float, float]
    half_extent: float
    size: int  # pixels a side, even
    fovea: Fovea | None = None  # pixels are evenly spread without one

    def spread(self, points: Tensor) -> Tensor:
        """Points [V, 3] moved in x and y, the window onto itself, so that even pixels see them by the fovea."""
        if self.fovea is None:
            return points
        middle, about = points.new_tensor([self.centre, self.fovea.centre])
        radius = self.fovea.radius

        def stretched(places: Tensor) -> Tensor:
            return ((places - about) / radius).asinh()

        low, high = stretched(middle - self.half_extent), stretched(middle + self.half_extent)
        share = (stretched(points[:, :2]) - low) / (high - low)
        return torch.cat([middle + self.half_extent * (2 * share - 1), points[:, 2:]], -1)


class CanonicalMaps(nn.Module):
    """N Gaussians in row-major order of the front map with the back map at its right: [S, 2S].

    The same pixel of both has the same x and y: the back is seen through the front. Buffers, saved with the nets'
    weights, which mean nothing without them.
    """

    pixels: Tensor
    positions: Tensor
    normals: Tensor
    lbs_weights: Tensor
    expression_basis: Tensor
    most: Tensor

    def __init__(self, size: int, count: int, joints: int, expressions: int):
        super().__init__()
        self.size = size
        self.register_buffer("pixels", torch.zeros(count, dtype=torch.int64))  # in the map
        self.register_buffer("positions", torch.zeros(count, 3))
        self.register_buffer("normals", torch.zeros(count, 3))  # interpolated, not made unit again
        self.register_buffer("lbs_weights", torch.zeros(count, joints))
        self.register_buffer("expression_basis", torch.zeros(count, 3, expressions))
        self.register_buffer("most", torch.full((expressions,), ANY))  # of coefficients that have an effect

    @classmethod
    def from_template(cls, template: Template, window: Window, normals: Tensor | None = None) -> "CanonicalMaps":
        """Of a mesh; its own normals [V, 3] or those of its faces. Raises UserError: the window shows nothing of it.

        Which Gaussians there are, ``template.drawn`` says; where they are, and all else of them, is canonical.
        """
        centre = template.vertices.new_tensor([*window.centre, 0.0])
        drawn = template.vertices if template.drawn is None else template.drawn
        sides = ortho_map(window.spread(drawn), template.faces, centre, window.half_extent, window.size)
        view = OrthoMap(*(torch.cat(parts, 1) for parts in zip(*sides, strict=True)))  # [S, 2S]
        pixels = (view.face >= 0).flatten().nonzero().squeeze(-1)
        if len(pixels) <= NEIGHBOURS:
            raise UserError(
                f"canonical maps: expected a mesh within the window {window}, found {len(pixels)} pixels of it"
            )
        corners = template.faces[view.face.flatten()[pixels]]  # [N, 3]
        weights = view.barycentric.flatten(0, 1)[pixels]

        def interpolate(values: Tensor) -> Tensor:
            return sum(w[:, None] * values.flatten(1)[corner] for w, corner in zip(weights.T, corners.T, strict=True))

        joints, expressions = template.lbs_weights.shape[1], template.expression_basis.shape[2]
        maps = cls(window.size, len(pixels), joints, expressions).to(template.vertices)
        maps.pixels = pixels
        maps.positions = interpolate(template.vertices)
        maps.normals = interpolate(template.normals() if normals is None else normals)
        maps.lbs_weights = interpolate(template.lbs_weights)
        maps.expression_basis = interpolate(template.expression_basis).unflatten(1, (3, expressions))
        if template.most is not None:
            maps.most = template.most.to(maps.most).clamp(max=ANY)
        return maps

    def initial_log_scales(self) -> Tensor:
        """[N] of the mean distance to the nearest others."""
        points = self.positions.cpu().numpy()
        distances, _ = cKDTree(points).query(points, NEIGHBOURS + 1)
        variances = torch.from_numpy(distances[:, 1:] ** 2).mean(-1).clamp(min=LEAST_VARIANCE)
        return variances.sqrt().log().to(self.positions)

    def to_map(self, values: Tensor) -> Tensor:
        """[N, C] -> [C, S, 2S], 0 where there is no Gaussian."""
        result = values.new_zeros(2 * self.size * self.size, values.shape[1])
        result[self.pixels] = values
        return result.T.reshape(-1, self.size, 2 * self.size)

    def from_maps(self, front: Tensor, back: Tensor) -> Tensor:
        """[C, S, S] each -> [N, C]."""
        return torch.cat([front, back], -1).flatten(1)[:, self.pixels].T

    def condition(self, values: Tensor) -> Tensor:
        """What a net sees of values [N, C]: front, then back, of every second row and column: [1, 2 C, S/2, S/2]."""
        front, back = self.to_map(values)[:, ::2, ::2].chunk(2, -1)
        return torch.cat([front, back])[None]

    def displacements(self, expression: Tensor) -> Tensor:
        """By an expression [E]: [N, 3]."""
        return self.expression_basis @ expression.minimum(self.most)


def view_cosines(maps: CanonicalMaps, transforms: Tensor, live: Tensor, camera: Tensor, noise: float = 0.0) -> Tensor:
    """Between live normals and the directions to the camera, as a net sees them: [1, 2, S/2, S/2], front and back.

    Args:
        transforms: [N, 4, 4] of the Gaussians. live: [N, 3] template points, posed.
        camera: [3] where it is.
        noise: of the directions, standard deviation; in training 0.1.
    """
    normals = (transforms[:, :3, :3] @ maps.normals[..., None]).squeeze(-1)
    directions = nn.functional.normalize(camera - live, dim=-1)
    if noise > 0:
        directions = nn.functional.normalize(directions + noise * torch.randn_like(directions), dim=-1, eps=1e-3)
    return maps.condition((normals * directions).sum(-1, keepdim=True))
