"""A photo as a person of a tri-grid: z, then the w of every layer, then the weights (PanoHead, section 4.3).

The photo lies in the frame of the model's own camera, which need not be the portrait camera: where the fitted body
appears to both says how. Camera and pose stay as tracked, and so does the expression where the model has such; else the
photo's becomes a part of who it is. So rays pass the same canonical space at every step: a step looks at some of them.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from functools import partial
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from inference.inversion.hidden import Hidden, hidden_places, shown_places
from inference.inversion.likeness import LEAST_SIZE, Distance
from inference.inversion.patches import PATCH, patch, scattered
from inference.inversion.stages import Stage, Steps, descend
from inference.pipeline import PortraitPipeline
from networks.cameras import FRONTAL, PORTRAIT_CAMERA, Rays
from networks.person.fitting.photo import TrackedPhoto
from networks.person.framing import Placement, frame_points
from networks.person.tracking import View
from networks.saved_model import SavedModel
from networks.trigrid.camera_labels import label_rays, project_label
from networks.trigrid.deformation import UNIT, to_canonical, to_metres
from networks.trigrid.generator import Draws
from networks.trigrid.portrait import TriGridPerson, TriGridPortrait
from networks.trigrid.superresolution import resized
from networks.trigrid.volume import DENSITY_SHIFT, Marched

STEPS = Steps(latents=80, styles=120, weights=150)
CANDIDATES = 16  # people whom the photo is compared with to begin
USUAL = 1.5  # size up to which numbers of z are free
PEOPLE = 600  # whose ws say how people of the model differ
SCATTERED = 512  # rays from all over that a step looks at
LATENT_RATE, STYLE_RATE, WEIGHT_RATE = 0.1, 0.1, 3e-3
COLOUR, MASK, PERCEPTUAL, PRIOR, LATENT_PRIOR = 1.0, 0.5, 0.15, 2e-2, 1e-2  # weights of the losses
HIDDEN = 2.0  # and of radiance at points that the photo does not show
ALL_ROUND = 8  # views of those
ALONG = 96  # places along a ray of them, and of the photo
INTERVAL = 0.016  # metres whose opacity is held
CLEAR = 0.01  # opacity of what nobody sees
MARGIN = 4  # pixels of a patch, before it is enlarged, that what lies beside it would change
UNTUNED = ("pose_branch.", "backbone.mapping.")  # what no picture of one person should change


class Looked(NamedTuple):
    """What a person looks like along some rays."""

    marched: Marched
    features: Tensor  # [1, C, R] before the background
    raw: Tensor  # [1, 3, R]


class TriGridInversion:
    """See the module's docstring; arguments as of :class:`inference.inversion.manifolds.ManifoldInversion`."""

    steps: ClassVar[Steps] = STEPS

    def __init__(self, pipe: PortraitPipeline, photo: TrackedPhoto, distance: Distance | None, seed: int = 0) -> None:
        self.pipe, self.distance = pipe, distance
        generator: Any = pipe.generator  # which this method is for
        self.portraits: TriGridPortrait = copy.deepcopy(generator)
        config, device = self.portraits.config, pipe.device
        self.photo = in_frame(photo, self.portraits)
        self._random = torch.Generator().manual_seed(seed)
        camera, eulers = (part[None].to(device) for part in (photo.camera, photo.joint_eulers))
        label = self.portraits.camera_label(camera)
        rotations = self.portraits.space.rotations_of(self.portraits.body, eulers)
        self.rays = label_rays(label, config.raw_size)
        self.depths = torch.linspace(config.near, config.far, ALONG, device=device)
        with torch.no_grad():
            deform = self.portraits.deformation(rotations, self.rays, None, photo.expression[None].to(device))
            along = self.rays.at(self.depths)
            self.along = along if deform is None else deform(along)  # [1, R, S, 3] about the body at rest
        image, mask = (part.to(device) for part in self.photo.picture(config.image_size))
        self.image = image[None]
        raw, mask = (resized(part, config.raw_size).flatten(2) for part in (self.image, mask[None, None]))
        self.raw, self.mask = raw, mask[:, 0]  # [1, 3, R], [1, R]
        # Of models that begin with drawn people the first numbers of z say whose face it is.
        self.face = photo.z_id.to(device) if config.latent_dim > len(photo.z_id) else photo.z_id.new_zeros(0)

    # ---- stages -----------------------------------------------------------------------------------------------------

    def stages(self, steps: Steps = STEPS) -> Iterator[Stage]:
        """The likeliest of some people as tracked, and after every stage. Raises UserError: an optimisation fails."""
        portraits = self.portraits
        z = self._likeliest()
        yield self._stage("tracked", portraits.style(z))
        if steps.latents:

            def latent_loss(_: int) -> Tensor:
                off = (z[0, : len(self.face)] - self.face).square().sum() + F.relu(z.abs() - USUAL).square().sum()
                return self._loss(portraits.style(z)) + LATENT_PRIOR * off

            descend("latents", [(LATENT_RATE, [z])], steps.latents, latent_loss)
            yield self._stage("latents", portraits.style(z))
        ws = portraits.style(z).clone()
        if steps.styles:
            ws = self._styled(ws, steps.styles)
            yield self._stage("styles", ws)
        if steps.weights:
            unseen = self._hidden(ws)._replace(colours=True)
            named = portraits.trigrid.named_parameters()
            weights = [weight for name, weight in named if not name.startswith(UNTUNED)]
            descend("weights", [(WEIGHT_RATE, weights)], steps.weights, lambda _: self._loss_enlarged(ws, unseen))
            yield self._stage("weights", ws)

    @torch.no_grad()
    def _likeliest(self) -> Tensor:
        """z [1, latent_dim] of this face that is nearest to the photo, of some."""
        people, errors = self._drawn(CANDIDATES), []
        people[:, : len(self.face)] = self.face
        state = self._random.get_state()
        for z in people.split(1):
            self._random.set_state(state)  # all by the same rays
            errors.append(self._loss(self.portraits.style(z)).item())
        return people[int(np.argmin(errors)), None].clone()

    def _drawn(self, count: int) -> Tensor:
        """z [count, latent_dim]."""
        return torch.randn(count, self.portraits.config.latent_dim, generator=self._random).to(self.pipe.device)

    def _styled(self, ws: Tensor, steps: int) -> Tensor:
        """ws of every layer [1, L, C], away from those of one person as people of the model differ: in units of the
        standard deviations of w along its principal axes (Wulff and Torralba 2020)."""
        people = self.portraits.style(self._drawn(PEOPLE))[:, 0]
        spread, axes = torch.linalg.svd(people - people.mean(0), full_matrices=False)[1:]
        axes = axes * (spread / math.sqrt(len(people) - 1))[:, None]
        steps_off = torch.zeros(1, ws.shape[1], len(axes), device=ws.device)
        unseen = self._hidden(ws)

        def loss(_: int) -> Tensor:
            return self._loss(ws + steps_off @ axes, unseen) + PRIOR * steps_off.square().mean()

        descend("styles", [(STYLE_RATE, [steps_off])], steps, loss)
        return ws + steps_off @ axes

    def _stage(self, name: str, ws: Tensor) -> Stage:
        person = {"ws": ws.detach().clone()}
        portraits = copy.deepcopy(self.portraits)
        return Stage(name, SavedModel(portraits, self.pipe.priors, dict(self.pipe.metadata), person))

    # ---- what the photo shows ---------------------------------------------------------------------------------------

    def _loss(self, ws: Tensor, unseen: Hidden | None = None) -> Tensor:
        """Of some rays and a patch of them, near or far, and of what the photo does not show."""
        config, person = self.portraits.config, self.portraits.person_of(ws)
        square = patch(config.raw_size, self._random, 1.0)
        seen, loss = self._look_at(person, square)
        if self.distance is not None and math.isqrt(len(square)) >= LEAST_SIZE:
            pictures = (_square(part, len(square)) for part in (seen.raw, self.raw[..., square]))
            loss = loss + PERCEPTUAL * self.distance(*pictures).mean()
        if unseen is None:
            return loss
        return loss + HIDDEN * unseen.loss(partial(self._radiance, person), self._random)

    def _loss_enlarged(self, ws: Tensor, unseen: Hidden) -> Tensor:
        """The same of neighbouring rays as the super-resolution enlarges them; of all of them, where pixels of the
        portrait are no whole share of a ray's."""
        config, person = self.portraits.config, self.portraits.person_of(ws)
        whole = not (config.image_size % config.raw_size or config.superresolution_input % config.raw_size)
        square = patch(config.raw_size, self._random, 1.0, far=False, count=PATCH if whole else config.raw_size)
        seen, loss = self._look_at(person, square)
        size, factor = math.isqrt(len(square)), config.image_size // config.raw_size
        parts, enough = (seen.features, seen.raw), size * config.superresolution_input // config.raw_size
        features, raw = (resized(_square(part, len(square)), enough) for part in parts)
        found = self.portraits.trigrid.superresolution.enlarge(features, raw, ws[:, -1])
        y, x = (factor * first for first in divmod(int(square[0]), config.raw_size))
        wanted = self.image[..., y : y + found.shape[-1], x : x + found.shape[-1]]
        edge = slice(factor * MARGIN, factor * (size - MARGIN))
        found, wanted = found[..., edge, edge], wanted[..., edge, edge]
        loss = loss + COLOUR * (found - wanted).abs().mean()
        if self.distance is not None and found.shape[-1] >= LEAST_SIZE:
            loss = loss + PERCEPTUAL * self.distance(found, wanted).mean()
        return loss + HIDDEN * unseen.loss(partial(self._radiance, person), self._random)

    def _look_at(self, person: TriGridPerson, square: Tensor) -> tuple[Looked, Tensor]:
        """Along the rays of a patch [P^2], then along some from all over, and how far all are from the photo."""
        chosen = torch.cat([square, scattered(self.portraits.config.raw_size, SCATTERED, self._random)])
        chosen = chosen.to(self.mask.device)
        seen = self._look(person, chosen)
        loss = COLOUR * (seen.raw - self.raw[..., chosen]).abs().mean()
        return seen, loss + MASK * (seen.marched.mask - self.mask[:, chosen]).abs().mean()

    def _look(self, person: TriGridPerson, chosen: Tensor) -> Looked:
        """Along the photo's rays ``chosen`` [R], with samples anew at every call."""
        config, trigrid = self.portraits.config, self.portraits.trigrid
        rays = Rays(*(part[:, chosen] for part in self.rays))
        counts = config.samples, config.importance_samples
        jitter, spread = (torch.rand(1, len(chosen), n, generator=self._random).to(chosen.device) for n in counts)
        marched = trigrid.march(
            person.planes, rays, partial(self._at_rest, rays, chosen), Draws(jitter, spread.sort(-1).values)
        )
        behind = resized(person.background.features, config.raw_size).flatten(2)[..., chosen]
        features = marched.colour.mT + (1 - marched.alpha[:, None]) * behind
        return Looked(marched, features, trigrid.torgb(features[..., None], person.ws[:, -1])[..., 0])

    def _at_rest(self, rays: Rays, chosen: Tensor, points: Tensor) -> Tensor:
        """Where points [1, R, S, 3] along the rays ``chosen`` lie about the body at rest, between places found once."""
        depths = ((points - rays.origins[:, :, None]) * rays.directions[:, :, None]).sum(-1)
        place = ((depths - self.depths[0]) / (self.depths[-1] - self.depths[0]) * (ALONG - 1)).clamp(0, ALONG - 1)
        below = place.floor().clamp_max(ALONG - 2)
        along = self.along[:, chosen]
        first, second = (along.gather(2, (below.long() + k)[..., None].expand_as(points)) for k in range(2))
        return torch.lerp(first, second, (place - below)[..., None])

    # ---- what it does not show --------------------------------------------------------------------------------------

    @torch.no_grad()
    def _hidden(self, ws: Tensor) -> Hidden:
        """What views from all sides, at rest, pass and the photo does not: half of it not clear."""
        person, places = self.portraits.person_of(ws), []
        for k in range(ALL_ROUND):
            camera = self.depths.new_tensor([[FRONTAL, FRONTAL + 2 * math.pi * k / ALL_ROUND]])
            places.append(self._passed(person, camera))
        hidden, twin = hidden_places(to_canonical(torch.cat(places)), self._shown(person))
        unseen = Hidden(hidden, twin, self._radiance(person, hidden))
        order = torch.randperm(len(hidden), generator=self._random).to(hidden.device)
        solid = unseen.before[order, 3] > CLEAR
        return unseen.rows(torch.cat([order[solid], order[~solid][: int(solid.sum())]]))

    def _passed(self, person: TriGridPerson, camera: Tensor) -> Tensor:
        """Points [N, 3] about the body at rest that a view samples."""
        config, passed = self.portraits.config, []

        def note(points: Tensor) -> Tensor:
            passed.append(points[0].flatten(0, 1))
            return points

        rays = label_rays(self.portraits.camera_label(camera), config.raw_size // 2)
        self.portraits.trigrid.march(person.planes, rays, note)
        points = torch.cat(passed)
        return points[(points.abs() < config.box / 2).all(-1)]

    def _shown(self, person: TriGridPerson) -> Tensor:
        """Canonical points [N, 3] from the photo's camera to the surface."""
        chosen = torch.arange(self.mask.shape[1], device=self.mask.device)
        seen = torch.cat([self._surface(person, part) for part in chosen.split(4096)])
        depth = (self.depths / UNIT).expand(len(seen), -1)
        return shown_places(to_canonical(self.along[0]), depth, seen)

    def _surface(self, person: TriGridPerson, chosen: Tensor) -> Tensor:
        """Depths [R] of rays in canonical units, infinite beside the person."""
        marched = self._look(person, chosen).marched
        return torch.where(marched.mask[0] > 0.5, marched.depth[0] / UNIT, torch.inf)

    def _radiance(self, person: TriGridPerson, places: Tensor) -> Tensor:
        """Colours in 0..1, times opacity, and the opacity of INTERVAL at canonical points [N, 3]: [N, 4]."""
        trigrid = self.portraits.trigrid
        density, features = trigrid.radiance(person.planes, to_metres(places)[None])
        colours = trigrid.torgb(features.mT[..., None], person.ws[:, -1])[0, ..., 0].T
        opacity = 1 - torch.exp(-INTERVAL * F.softplus(density[0, :, None] - DENSITY_SHIFT))
        return torch.cat([(colours + 1) / 2 * opacity, opacity], -1)


def _square(values: Tensor, count: int) -> Tensor:
    """The first of the rays [1, C, R], a patch, as a picture."""
    size = math.isqrt(count)
    return values[..., :count].unflatten(-1, (size, size))


def in_frame(photo: TrackedPhoto, portraits: TriGridPortrait) -> TrackedPhoto:
    """The photo placed in the frame of the model's camera in its direction, by where both see the fitted body."""
    body, view = portraits.body, View(photo.camera[None].double(), torch.zeros(1, dtype=torch.float64))
    with torch.no_grad():
        device = body.v_template.device
        who = photo.betas[None].to(device), photo.joint_eulers[None].to(device)
        vertices = body(*who).vertices[0].cpu().double()  # of head and shoulders
    ours = frame_points(vertices.numpy(), view, PORTRAIT_CAMERA)
    label = portraits.camera_label(photo.camera[None].to(device)).cpu().double()
    seen = project_label(to_metres(vertices)[None], label)[0].numpy()  # 0..1 between the picture's edges
    size = portraits.config.image_size
    theirs = (2 * seen - 1) * size / (size - 1)  # -1..1 between the centres of its first and last pixels
    return photo._replace(placement=_similarity(ours, theirs, photo.placement))


def _similarity(ours: np.ndarray, theirs: np.ndarray, placement: Placement) -> Placement:
    """``placement`` in another frame, where points [N, 2] of its own frame lie at ``theirs``, by least squares."""
    a, b = (points - points.mean(0) for points in (ours, theirs))
    scale = float((a * b).sum() / (a * a).sum())
    shift = theirs.mean(0) - scale * ours.mean(0)
    return Placement(scale * placement.matrix, scale * placement.shift + shift)
