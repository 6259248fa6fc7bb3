"""From a person's flattened maps to a portable avatar: surfaces, pruned and simplified, with textures and motion."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from inference.fast.body import FastBody
from inference.fast.grids import HALF_REACH
from inference.portable.atlas import draw_atlas, pack, visible_cells
from inference.portable.avatar import POSED, ROOT, LayeredAvatar
from inference.portable.bisection import bisect
from inference.portable.blendshapes import SEEN, Blendshapes, fit_blendshapes, scales
from inference.portable.fields import Field
from inference.portable.skinning import SmoothedSkinning, Weights, skinning_weights, strongest
from inference.portable.surfaces import CELLS, Surfaces
from networks.manifold.generator import Generator
from networks.manifold.manifolds import flat_coordinates
from networks.person.body_model import NECK
from networks.person.priors import LabelPriors, Latents
from torch_utils.misc import UserError

# What a unit of skinning weight may move a point by: a joint that turns by a third of a radian, at a hand's length.
_WEIGHT_MOTION = 0.05
_PROJECTIONS = 8  # random sums of all blendshapes, by whose error meshes are refined


@dataclass(frozen=True, kw_only=True)
class AvatarOptions:
    """How closely an avatar follows its person; the defaults lose nothing that is seen. Lengths in canonical units."""

    error: float = 5e-4  # of surfaces and of how they move, as it is seen: half a pixel at 512^2
    largest: int = 16  # sides of triangles, in cells of surfaces.CELLS
    least_alpha: float = 1 / 255  # opacity below which a texel is taken for transparent
    least_morph: float = 1e-4  # by which an expression moves something, else it is left out
    correctives: int = 8  # of what expressions do together, at most

    def __post_init__(self):
        for name, value in asdict(self).items():
            if not (math.isfinite(value) and (value > 0 or (name == "correctives" and value == 0))):
                raise ValueError(f"{name}: expected a positive number, found {value}")


class _Layer(NamedTuple):
    """What is kept of a manifold: N vertices."""

    points: Tensor  # [N, 3] canonical
    rest: Tensor  # [N, 3] of the person at rest, with a neutral face
    morphs: Tensor  # [T + K, N, 3] and correctives
    weights: Tensor  # [N, 7]
    triangles: Tensor  # [F, 3] far to near as seen from the front


def build_avatar(
    generator: Generator,
    surfaces: Surfaces,
    maps: Tensor,
    latents: Latents,
    face_model: str | None,
    priors: LabelPriors | None,
    options: AvatarOptions,
    metadata: Mapping[str, Any],
) -> LayeredAvatar:
    """One person's avatar.

    Args:
        generator: in eval mode.
        surfaces: of its manifolds.
        maps: [K, 4, h, w] the person's RGBA, from U.
        latents: of the person, [1, .] each.
        face_model: whose expressions the generator takes.
        priors: what these are like.
        options: how closely.
        metadata: plain data to go along.

    Raises:
        UserError: no layer can be seen, or the maps are not finite.
    """
    maps = maps.float().cpu()
    if not maps.isfinite().all():
        raise UserError("portable avatar: expected maps of finite numbers, found NaN or infinity")
    kept = visible_cells(maps, CELLS, options.least_alpha) & _whole_cells(surfaces.valid)
    order = kept.flatten(1).any(1).nonzero().flip(0)[:, 0].tolist()  # the innermost first: it is the last manifold
    if not order:
        raise UserError(f"portable avatar: expected a layer of opacity {options.least_alpha:.3g} or more, found none")
    body = FastBody(generator.body, latents.betas)
    near = surfaces.points[_corners(kept)]
    shapes = fit_blendshapes(
        generator, latents.z_id, face_model, priors, near, correctives=options.correctives, least=options.least_morph
    )
    motion = _Motion.of(generator, body, shapes)
    layers = [_simplify(motion, surfaces.points[k], kept[k], options) for k in order]
    size = torch.tensor(maps.shape[:1:-1])  # width, height
    texels = [(0.5 * (flat_coordinates(layer.points) + 1) * size).clamp(min=0).minimum(size) for layer in layers]
    boxes = pack(texels, *size.tolist())
    joints, weights = strongest(torch.cat([layer.weights for layer in layers]))
    starts = torch.tensor([0, *(len(layer.points) for layer in layers)]).cumsum(0).tolist()
    morphs, correctives = torch.cat([layer.morphs for layer in layers], 1).tensor_split([len(shapes.names)])
    root = generator.body.canonical_joints(latents.betas)[0, generator.body.parents[NECK]].cpu()
    return LayeredAvatar(
        vertices=torch.cat([layer.rest for layer in layers]),
        uv=torch.cat([boxes.uv(i, part) for i, part in enumerate(texels)]),
        triangles=torch.cat([layer.triangles + start for layer, start in zip(layers, starts, strict=False)]).int(),
        layers=torch.tensor([0, *(len(layer.triangles) for layer in layers)]).cumsum(0).int(),
        atlas=draw_atlas(maps[order], boxes),
        joint_names=(ROOT, *POSED),
        joint_parents=(-1, *body.above),
        joint_positions=torch.cat([root[None], body.joints[1]]),
        joints=joints,
        weights=weights,
        morph_names=shapes.names,
        morphs=morphs,
        correctives=correctives,
        correction=shapes.correction,
        metadata={"about": "synthetic person", "face_model": face_model, "options": asdict(options), **metadata},
    )


def _whole_cells(valid: Tensor) -> Tensor:
    """Cells [K, N - 1, N - 1] all of whose corners [K, N, N] are valid."""
    return valid[:, :-1, :-1] & valid[:, :-1, 1:] & valid[:, 1:, :-1] & valid[:, 1:, 1:]


def _corners(kept: Tensor) -> Tensor:
    """Nodes [K, N, N] that are corners of cells [K, N - 1, N - 1] that are kept."""
    return F.max_pool2d(F.pad(kept.float(), (1, 1, 1, 1)), 2, stride=1) > 0


class _Motion(NamedTuple):
    """How points of a person's canonical space move."""

    field: Field  # [1 + T + K]: from canonical points to the neutral face, and from there to each expression
    sums: Field  # [1 + _PROJECTIONS] the first, and random sums of the others
    weights: Weights
    skinning: SmoothedSkinning | None  # D^p's, if people are posed by it
    flatness: float  # see `displace`

    @classmethod
    def of(cls, generator: Generator, body: FastBody, shapes: Blendshapes) -> "_Motion":
        morphs = len(shapes.field.whole.values) - 1
        signs = torch.randn(_PROJECTIONS, morphs, generator=torch.Generator().manual_seed(0)).sign()

        def summed(values: Tensor) -> Tensor:
            sums = torch.tensordot(signs / _PROJECTIONS**0.5, values[1:], 1)
            return torch.cat([values[:1], sums])

        searched, looked_up = scales(generator)
        return cls(
            shapes.field, shapes.field.map(summed), skinning_weights(generator, body),
            SmoothedSkinning(generator, body) if generator.config.pose == "smoothed" else None,
            1 - searched / looked_up,
        )  # fmt: skip

    def displace(self, field: Field, points: Tensor, slope: Tensor) -> Tensor:
        """Displacements [C, N, 3] of points [N, 3] of a surface whose height grows by ``slope`` [N, 2] along x and y.

        Where M is asked elsewhere than radiance is looked up (``flatness``), what is looked up lies higher or lower.
        """
        moved = field.at(points)
        lift = (moved[..., :2] * slope).sum(-1) - moved[..., 2]
        return torch.cat([moved[..., :2], moved[..., 2:] + self.flatness * lift[..., None]], -1)


def _simplify(motion: _Motion, points: Tensor, kept: Tensor, options: AvatarOptions) -> _Layer:
    """A mesh over the kept cells [N - 1, N - 1] of a surface [N, N, 3], by how it bends and how its parts move."""
    slope = torch.stack(torch.gradient(points[..., 2], spacing=2 * HALF_REACH / CELLS), -1).flip(-1).flatten(0, 1)
    flat = points.flatten(0, 1)
    moved = motion.displace(motion.sums, flat, slope)
    rest = flat + moved[0]
    rest = rest if motion.skinning is None else motion.skinning.rest(rest)
    weights = motion.weights.at(rest)
    values = torch.cat([SEEN[2] * flat[:, 2:], *(SEEN * moved), _WEIGHT_MOTION * weights], -1)
    triangles = bisect(values.unflatten(0, points.shape[:2]), kept, options.error, options.largest)
    nodes, triangles = triangles.unique(return_inverse=True)
    morphs = motion.displace(motion.field, flat[nodes], slope[nodes])
    # Blendshapes move a person at rest as they move the canonical one: shapes differ by little over so small a way.
    far_to_near = rest[nodes][triangles, 2].mean(1).argsort(stable=True)
    return _Layer(flat[nodes], rest[nodes], morphs[1:], weights[nodes], triangles[far_to_near])
