"""Expressions forward, as sums of fixed displacements: from canonical space to the neutral pose with an expression.

The method carries points the other way, by D^e. Its inverse is found by fixed point, expression by expression, and is
no sum of what single actions do: blendshapes are those, at full amount, and the principal components of what many
expressions at once leave are correctives, whose amounts are quadratic in the blendshapes' (a pose space deformation,
Lewis et al. 2000, for faces).
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from inference.portable.fields import Field, Grid, depth_in
from networks.manifold.generator import Generator
from networks.manifold.openings import OPENINGS
from networks.person.expressions import ARKIT, NUM_EXPRESSION, coefficient_names
from networks.person.open_body.actions import ACTIONS
from networks.person.priors import LabelPriors

SPACING = 0.0125  # canonical units between the nodes at which D^e is inverted: as in frames of quality ``fast``
FINE = 0.005  # where lids and lips part: an eye is two or three of them high
_NEAR, _REACH = 1, 0.0375  # nodes around points where the inverse is wanted; how far from them D^e may be asked for it
_HALVINGS, _WAY = 9, 0.035  # of the search for the inverse at openings, and how far it goes up or down
_ROUNDS = 6  # of the fixed point: D^e grows by a fraction of the way
SEEN = torch.tensor([1.0, 1.0, 0.5])  # what x, y and z count: cameras look along z, or up to 30 degrees beside it
_FITTED = 48  # expressions that correctives are made of, beside the single ones
# Expressions that correctives' amounts are fitted to, those at a time, and the nodes that tell what amounts they need.
_ASKED, _BATCH, _PROBES, _PROBE_ROUNDS = 2048, 64, 128, 2
_SMOOTHNESS = 1e-4  # of the quadratic function, for each of those


class Blendshapes(NamedTuple):
    """What expressions do to canonical points."""

    names: tuple[str, ...]  # [T] of the expressions that move something
    field: Field  # [1 + T + K] to the neutral face; from there to each expression; correctives
    correction: Tensor  # [K, 1 + T, 1 + T] see LayeredAvatar.corrective_amounts


class _Lattice:
    """Nodes around points [N, 3]."""

    def __init__(self, near: Tensor, spacing: float):
        self.spacing, reach = spacing, _NEAR + round(_REACH / spacing)
        margin = reach * spacing
        self._low = near.amin(0) - margin
        sizes = [round(n) + 2 for n in ((near.amax(0) + margin - self._low) / spacing).tolist()]
        marked = torch.zeros(sizes[::-1])
        x, y, z = ((near - self._low) / spacing).round().long().unbind(-1)
        marked[z, y, x] = 1
        self._marked = marked
        self.wanted, self.asked = self._nodes(_NEAR), self._nodes(reach)  # [A, 3] z, y, x

    def _nodes(self, reach: int) -> Tensor:
        return (F.max_pool3d(self._marked[None], 2 * reach + 1, stride=1, padding=reach)[0] > 0).nonzero()

    def places(self, nodes: Tensor) -> Tensor:
        return self._low + self.spacing * nodes.flip(-1)

    def grid(self, nodes: Tensor, values: Tensor) -> Grid:
        """Of values [C, A, 3] at nodes, 0 at others."""
        everywhere = torch.zeros(len(values), *self._marked.shape, 3)
        z, y, x = nodes.unbind(1)
        everywhere[:, z, y, x] = values
        return Grid(everywhere, self._low, self.spacing)


class _Lattices:
    """Of the whole, and of the openings of faces that D^e takes to one with open eyes and parted lips."""

    def __init__(self, generator: Generator, near: Tensor):
        self.whole = _Lattice(near, SPACING)
        boxes = OPENINGS if generator.config.opens else ()
        inside = [(box, near[depth_in(box, near) > 0]) for box in boxes]
        self.openings = [(box, _Lattice(points, FINE)) for box, points in inside if len(points)]

    def inverses(self, generator: Generator, z_id: Tensor, expressions: Tensor) -> Tensor:
        """E [C, A, 3] of expressions [C, 64] at all the nodes where it is wanted, those of the whole first."""
        parts = [_inverses(generator, z_id, expressions, self.whole, _fixed_point)]
        parts += [_inverses(generator, z_id, expressions, lattice, _halving) for _, lattice in self.openings]
        return torch.cat(parts, 1)

    def field(self, values: Tensor) -> Field:
        """Of values [C, A, 3] at those nodes."""
        lattices = [self.whole, *(lattice for _, lattice in self.openings)]
        parts = values.split([len(lattice.wanted) for lattice in lattices], 1)
        whole, *fine = (lattice.grid(lattice.wanted, part) for lattice, part in zip(lattices, parts, strict=True))
        return Field(whole, tuple((box, grid) for (box, _), grid in zip(self.openings, fine, strict=True)))


def scales(generator: Generator) -> tuple[float, float]:
    """By how many times D^e points are displaced where M is asked, and where radiance is looked up."""
    one = torch.ones(())
    searched, looked_up = generator.canonical_points(0 * one, one)
    return searched.item(), looked_up.item()


@torch.inference_mode()
def inverse_expressions(generator: Generator, z_id: Tensor, expressions: Tensor, near: Tensor) -> Field:
    """E with E(y) = -b D^e(y + E(y)), of every expression: what is looked up at y is at y + E(y) of the neutral pose.

    b is 1, but for weights trained with other conventions: see :func:`scales`.

    Args:
        z_id: [1, 80].
        expressions: [C, 64].
        near: points [N, 3] around which it is wanted, on the CPU as the result; elsewhere it is 0.
    """
    lattices = _Lattices(generator, near)
    return lattices.field(lattices.inverses(generator, z_id, expressions))


def _inverses(
    generator: Generator, z_id: Tensor, expressions: Tensor, lattice: _Lattice,
    solve: Callable[[Grid, Tensor], Tensor],
) -> Tensor:  # fmt: skip
    """E [C, A, 3] at the nodes where it is wanted."""
    _, scale = scales(generator)
    points, asked = lattice.places(lattice.wanted), lattice.places(lattice.asked)
    inverses = []
    for z_exp in expressions:
        forward = lattice.grid(lattice.asked, -scale * _displacements(generator, z_id, z_exp[None], asked[None]))
        inverses.append(solve(forward, points))
    return torch.stack(inverses)


def _fixed_point(back: Grid, points: Tensor) -> Tensor:
    """E [A, 3] with E(y) = back(y + E(y))."""
    found = torch.zeros_like(points)
    for _ in range(_ROUNDS):
        found = back.at(points + found)[0]
    return found


def _halving(back: Grid, points: Tensor) -> Tensor:
    """The same where D^e is torn: what lies between lids that have met comes to the line where they meet, for it is
    sought by halves of the way up or down."""
    found, low = torch.zeros_like(points), torch.full_like(points[:, 1], -_WAY)
    high = -low
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        found = torch.stack([found[:, 0], middle, found[:, 2]], -1)
        sent = back.at(points + found)[0]
        above = middle > sent[:, 1]
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
        found = torch.stack([sent[:, 0], middle, sent[:, 2]], -1)
    return found


def _displacements(generator: Generator, z_id: Tensor, z_exp: Tensor, points: Tensor) -> Tensor:
    """D^e of expressions [B, 64] at points [B, N, 3] -> [B, N, 3]."""
    style = generator.expression_deformation.style(z_id.expand(len(z_exp), -1), z_exp.to(z_id))
    return generator.expression_displacement(points.to(z_id), style).cpu()


@torch.inference_mode()
def fit_blendshapes(
    generator: Generator, z_id: Tensor, face_model: str | None, priors: LabelPriors | None, near: Tensor, *,
    correctives: int, least: float,
) -> Blendshapes:  # fmt: skip
    """Blendshapes of one person.

    Args:
        generator: in eval mode.
        z_id: [1, 80].
        face_model: whose expressions the generator takes.
        priors: what they are like.
        near: canonical points [N, 3] around which they are wanted, on the CPU as the result.
        correctives: how many, at most.
        least: what an expression or a corrective must move something by, else it is left out.
    """
    names = coefficient_names(face_model)[: len(ACTIONS) if face_model == ARKIT else None]
    count, lattices = len(names), _Lattices(generator, near)
    drawn = draw_expressions(priors, face_model, _FITTED + _ASKED)
    # Actions go one way, coefficients both.
    single = torch.eye(NUM_EXPRESSION)[:count]
    single = single if face_model == ARKIT else torch.cat([single, -single])
    met = torch.cat([single, drawn[:_FITTED]])
    inverses = lattices.inverses(generator, z_id, torch.cat([torch.zeros(1, NUM_EXPRESSION), met]))
    neutral, moves, amounts = inverses[0], inverses[1:] - inverses[0], met[:, :count]
    ends = moves[: len(single)].unflatten(0, (-1, count))
    shapes = ends[0] if len(ends) == 1 else 0.5 * (ends[0] - ends[1])
    moving = (shapes.norm(dim=-1).amax(1) >= least).nonzero()[:, 0]
    shapes, amounts, asked = shapes[moving], amounts[:, moving], drawn[_FITTED:]
    modes = _components(SEEN * (moves - _sum(amounts, shapes)), correctives) / SEEN
    needed = _amounts_needed(generator, z_id, asked, asked[:, moving], lattices.whole, shapes, modes)
    most = needed.abs().amax(0)
    kept = (modes.norm(dim=-1).amax(1) * most >= least).nonzero()[:, 0]
    modes, needed = modes[kept] * most[kept, None, None], needed[:, kept] / most[kept]
    field = lattices.field(torch.cat([neutral[None], shapes, modes]))
    return Blendshapes(tuple(names[i] for i in moving.tolist()), field, _quadratic(asked[:, moving], needed))


def draw_expressions(priors: LabelPriors | None, face_model: str | None, count: int) -> Tensor:
    """Expressions [count, 64], from those of many actions to those of few, the same every time."""
    random = torch.Generator().manual_seed(0)
    if priors is not None:
        drawn = priors.sample_expressions(count, random)
    elif face_model == ARKIT:
        drawn = F.pad(torch.rand(count, len(ACTIONS), generator=random), (0, NUM_EXPRESSION - len(ACTIONS)))
    else:
        drawn = torch.randn(count, NUM_EXPRESSION, generator=random)
    share = torch.rand(count, 1, generator=random)
    return drawn * (torch.rand(drawn.shape, generator=random) < share)


def _sum(amounts: Tensor, fields: Tensor) -> Tensor:
    """amounts [C, T], fields [T, A, 3] -> [C, A, 3]."""
    return torch.tensordot(amounts, fields, 1)


def _least_squares(features: Tensor, values: Tensor, stiffness: float) -> Tensor:
    """What of values [N, ...] features [N, F] explain, [F, ...], held at 0."""
    normal = features.T @ features + stiffness * torch.eye(features.shape[1])
    return torch.linalg.solve(normal, features.T @ values.flatten(1)).unflatten(1, values.shape[1:])


def _components(fields: Tensor, count: int) -> Tensor:
    """The principal components [count, A, 3] of fields [C, A, 3], of length 1, the greatest first."""
    flat = fields.flatten(1)
    values, vectors = torch.linalg.eigh(flat @ flat.T)  # rising
    found = vectors.flip(1)[:, :count].T @ flat
    return F.normalize(found, dim=1).unflatten(1, fields.shape[1:])


def _amounts_needed(
    generator: Generator, z_id: Tensor, expressions: Tensor, amounts: Tensor, lattice: _Lattice, shapes: Tensor,
    modes: Tensor,
) -> Tensor:  # fmt: skip
    """How much of the modes [K, A, 3] expressions [N, 64] need beside shapes [T, A, 3] [N, K]: at a few nodes D^e
    itself says what is missing."""
    probes = torch.randperm(len(lattice.wanted), generator=torch.Generator().manual_seed(0))[:_PROBES]
    points = lattice.places(lattice.wanted[probes])
    shapes, modes = shapes[:, probes], modes[:, probes]
    _, scale = scales(generator)

    def inverse(z_exp: Tensor, guess: Tensor) -> Tensor:
        for _ in range(_PROBE_ROUNDS):
            guess = -scale * _displacements(generator, z_id, z_exp, points + guess)
        return guess

    neutral = torch.zeros(1, len(points), 3)
    for _ in range(2):
        neutral = inverse(torch.zeros(1, NUM_EXPRESSION), neutral)
    back = torch.linalg.pinv((SEEN * modes).flatten(1))  # [3 P, K]
    parts = []
    for z_exp, some in zip(expressions.split(_BATCH), amounts.split(_BATCH), strict=True):
        summed = _sum(some, shapes)
        missing = inverse(z_exp, neutral + summed) - neutral - summed
        parts.append((SEEN * missing).flatten(1) @ back)
    return torch.cat(parts)


def _quadratic(amounts: Tensor, values: Tensor) -> Tensor:
    """The forms [K, 1 + T, 1 + T] in (1, amounts) [N, T] that come nearest to values [N, K], 0 where amounts are."""
    whole = F.pad(amounts, (1, 0), value=1.0)
    row, column = torch.triu_indices(whole.shape[1], whole.shape[1])[:, 1:]
    found = _least_squares(whole[:, row] * whole[:, column], values, _SMOOTHNESS * len(values))
    forms = torch.zeros(values.shape[1], whole.shape[1], whole.shape[1])
    forms[:, row, column] = found.T
    return forms
