"""Stage 0 of tri-grids: planes of drawn people, regressed at points of the rays that see them from all sides.

z is a drawn person's (z_id, eps). People are at rest and look neutral: turned heads and moved faces are taken off space
before the planes are read. w does not depend on cameras and poses; the adversarial stages may teach it to.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from networks.cameras import Rays
from networks.layers import weight_and_bias
from networks.manifold.generator import ID_DIM, NOISE_DIM
from networks.person.body_assets import default_body, head_shoulder_vertices
from networks.person.expressions import face_model_name
from networks.person.priors import LabelPriors
from networks.saved_model import SavedModel, pack_model
from networks.stylegan_layers import SynthesisLayer
from networks.trigrid.config import TriGridConfig
from networks.trigrid.generator import Draws, TriGridGenerator
from networks.trigrid.portrait import TriGridPortrait
from torch_utils.bounds import MAX_SEED, Range, check_ranges
from torch_utils.checkpoint import load_checkpoint, load_weights, save_checkpoint
from torch_utils.config import check_same, config_to_dict
from training.drawn_labels import DrawnLabels
from training.drawn_points import drawn_identity
from training.expression_warmup import warm_up_expression
from training.losses.drawn_rays import Errors, colour_error, opacity_error
from training.models import face_to_imitate
from training.regression import Regression
from training.sampling import random_generator
from training.stage0 import START, Learning, check_begun, collect, earlier_model, learn, learned
from training.trigrid.drawn_rays import RAY, DrawnRays, PointTargets, draw_rays, points_along, unpack
from training.trigrid.first_mapping import ignore_unseen, keep_unseen, listen
from training.trigrid.models import FREE, begin_at_rest, settled
from training.trigrid.sampling import MeanFaces

RAYS = "rays.npy"
BATCH_KEY, STRANGERS_KEY, MEAN_KEY = 0xF2, 0xF3, 0xF4  # of draws
FIRST_GAIN = 10.0  # densities have to reach hundreds: they begin so many times their usual size
POSITIONS = 0.5  # strength of the backbone's maps, to begin with
STRANGERS = 12  # of those who are not learned from, whose errors are measured
POSES = ("pose", "thickness", "shoulders", "expression_dim")  # what people at rest say nothing about
TRACKED, TRACK_EVERY = 32, 4  # people whose w moves the mean, every so many steps


@dataclass(frozen=True, kw_only=True)
class TriGridPretrainConfig:
    """All of it."""

    generator: TriGridConfig
    init_from: str | None = None  # a model of an earlier pretraining, whose planes go on; none: from the beginning
    seed: Annotated[int, Range(0, MAX_SEED)] = 0
    expression_steps: Annotated[int, Range(0, 10**6)] = 0  # of D^e, where generator.expression_dim is above 0
    people: Annotated[int, Range(2, 10**6)] = 4000  # drawn
    views: Annotated[int, Range(1, 1000)] = 4  # pictures of a person from all sides, beside two of the face
    rays: Annotated[int, Range(8, 2**20)] = 8000  # of a person
    steps: Annotated[int, Range(1, 10**7)] = 6400
    batch_size: Annotated[int, Range(1, 1024)] = 4  # people a step
    batch_rays: Annotated[int, Range(8, 2**20)] = 1024  # of every person, a step
    rendered_rays: Annotated[int, Range(0, 2**20)] = 96  # of those, rendered as frames are
    rendered_share: Annotated[float, Range(0.0, 1.0)] = 0.25  # in so many of the steps, the last ones
    mapping_lr: Annotated[float, Range(1e-12, 1.0)] = 0.1  # Adam's at its peak, of layers that learn at a hundredth
    backbone_lr: Annotated[float, Range(1e-12, 1.0)] = 1.5e-2  # of what makes planes, colours and background
    positions_lr: Annotated[float, Range(1e-12, 1.0)] = 3e-2  # of the backbone's maps
    decoder_lr: Annotated[float, Range(1e-12, 1.0)] = 1e-2
    colour: Annotated[float, Range(0.0, 1e3)] = 4.0  # weight of colours, beside opacity
    precision: Literal["fp32", "bf16"] = "bf16"  # of the backbone
    workers: Annotated[int, Range(-1, 256)] = -1  # processes that draw people; -1: one a core, 0: none but this one
    save_every: Annotated[int, Range(1, 10**6)] = 400  # steps

    def __post_init__(self):
        check_ranges(self)
        if self.generator.latent_dim != ID_DIM + NOISE_DIM:
            found = self.generator.latent_dim
            raise ValueError(f"generator.latent_dim: expected {ID_DIM + NOISE_DIM} (z_id, eps), found {found}")
        if self.generator.orbit != "portrait" or self.generator.rest_pose != "mean":
            raise ValueError("generator: expected orbit portrait and rest_pose mean, as people are drawn")
        if bool(self.expression_steps) != bool(self.generator.expression_dim):
            raise ValueError("expression_steps: expected some where generator.expression_dim is above 0, else 0")
        for name, most in (("batch_rays", self.rays), ("rendered_rays", self.batch_rays)):
            if getattr(self, name) > most:
                raise ValueError(f"{name}: expected at most {most}, found {getattr(self, name)}")


def begin(config: TriGridPretrainConfig, labels: DrawnLabels, device: torch.device) -> TriGridPortrait:
    """A generator whose D^e imitates the open face and whose w follows from z alone; pictures are enlarged raw ones.
    Planes are as in ``init_from``, where it names a model. UserError where that does not fit."""
    torch.manual_seed(config.seed)
    portrait = build(config)
    trigrid = portrait.trigrid
    with torch.no_grad():
        embed = trigrid.backbone.mapping.embed
        nn.init.zeros_(embed.weight)
        nn.init.normal_(embed.bias)
        weight_and_bias(trigrid.decoder.net[-1])[0][0].mul_(FIRST_GAIN)
        for block in (trigrid.superresolution.block0, trigrid.superresolution.block1):
            nn.init.zeros_(block.torgb.weight)
        begin_at_rest(trigrid.pose_branch)
        for layer in position_layers(trigrid):
            nn.init.constant_(layer.noise_strength, POSITIONS)
        listen(trigrid.backbone.mapping)
    if config.init_from is not None:
        take_over(portrait, config.init_from)
    ignore_unseen(trigrid.backbone.mapping)
    portrait.to(device)
    if portrait.expression_deformation is not None:
        warm_up_expression(
            portrait.expression_deformation, face_to_imitate().to(device), MeanFaces(labels.practice),
            steps=config.expression_steps, seed=config.seed,
        )  # fmt: skip
    return portrait


def take_over(portrait: TriGridPortrait, path: str) -> None:
    """All but D^e of a model of an earlier pretraining. UserError where it does not fit."""
    saved = earlier_model(path, (TriGridPortrait,)).generator
    check_same(settled((*FREE, *POSES)), saved.config, portrait.config, path)
    load_weights(portrait.trigrid, saved.trigrid.state_dict(), f"{path}: trigrid")


def build(config: TriGridPretrainConfig) -> TriGridPortrait:
    """The networks on the body that people are drawn on."""
    body = default_body()
    return TriGridPortrait(config.generator, body, torch.as_tensor(head_shoulder_vertices(body)))


def position_layers(trigrid: TriGridGenerator) -> list[SynthesisLayer]:
    """The backbone's layers, whose maps (``noise_const``) tell it where it is."""
    return [layer for layer in trigrid.backbone.synthesis.modules() if isinstance(layer, SynthesisLayer)]


class TriGridPretraining(Learning):
    """The regression: what changes while it goes on, and a step of it.

    The backbone's maps learn, too: from a constant of 4 x 4 alone planes stay blurred for long.

    Args:
        rays: of all people [P, N], :data:`training.trigrid.drawn_rays.RAY`.
        priors: for the models that are saved.
    """

    config: TriGridPretrainConfig
    generator: TriGridPortrait

    def __init__(
        self, config: TriGridPretrainConfig, generator: TriGridPortrait, rays: np.ndarray, priors: LabelPriors
    ):
        super().__init__(config, generator)
        self.rays, self.priors = rays, priors
        trigrid, mapping = generator.trigrid, generator.trigrid.backbone.mapping
        generator.requires_grad_(False)
        self.maps = [layer.noise_const.requires_grad_(True) for layer in position_layers(trigrid)]
        groups: list[tuple[float, list[Iterable[Any]]]] = [(config.positions_lr, [self.maps])]
        for rate, parts in (
            (config.mapping_lr, [mapping.get_submodule(f"fc{k}") for k in range(mapping.num_layers)]),
            (config.backbone_lr, [trigrid.backbone.synthesis, trigrid.torgb, trigrid.bcg_synthesis]),
            (config.decoder_lr, [trigrid.decoder]),
        ):
            groups.append((rate, [part.requires_grad_(True).parameters() for part in parts]))
        keep_unseen(mapping)
        self.regression = Regression(groups, config.steps)
        people = [drawn_identity(config.seed, index) for index in range(config.people)]
        self.latents = torch.from_numpy(np.stack([np.concatenate([one.z_id, one.eps]) for one in people]))

    def styles(self, people: Tensor) -> Tensor:
        """ws of some people."""
        return self.generator.style(self.latents[people].to(self.device))

    @property
    def device(self) -> torch.device:
        """Of the networks."""
        return self.generator.body.v_template.device

    def errors(self, people: Tensor, where: slice, random: torch.Generator, *, render: bool) -> Errors:
        """Of some people's rays ``where``."""
        rays = unpack(np.stack([self.rays[index, where] for index in people.tolist()]))
        targets = PointTargets(*(part.to(self.device) for part in points_along(rays, random)))
        trigrid, ws = self.generator.trigrid, self.styles(people)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bf16"):
            planes = trigrid.planes(ws, "const")
        planes = planes.float()
        density, features = trigrid.radiance(planes, targets.position)
        behind = trigrid.background(ws, "none").features
        white = self.colours(behind.flatten(2).transpose(1, 2), ws)
        none = density.new_zeros(())
        drawn = none, none
        if render and self.config.rendered_rays:
            some = DrawnRays(*(part[:, : self.config.rendered_rays].to(self.device) for part in rays))
            drawn = self.rendered(some, planes, ws, behind.mean((2, 3)), random)
        return Errors(
            opacity_error(density, targets.alpha, targets.alpha_weight),
            colour_error(self.colours(features, ws), targets.colour, targets.colour_weight),
            2 * (white - 1).abs().mean(),
            *drawn,
        )

    def colours(self, features: Tensor, ws: Tensor) -> Tensor:
        """Features [B, N, C] -> colours [B, N, 3] in 0..1."""
        return (self.generator.trigrid.torgb(features.transpose(1, 2)[..., None], ws[:, -1])[..., 0].mT + 1) / 2

    def rendered(
        self, rays: DrawnRays, planes: Tensor, ws: Tensor, behind: Tensor, random: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Errors of colours and opacity of rays [B, N], rendered as frames are, before ``behind`` [B, C]."""
        config, shape = self.generator.config, rays.alpha.shape
        middle = (config.near + config.far) / 2 + (rays.place * rays.direction).sum(-1, keepdim=True)
        jitter = torch.rand(*shape, config.samples, generator=random)
        spread = torch.rand(*shape, config.importance_samples, generator=random).sort(-1).values
        draws = Draws(jitter.to(self.device), spread.to(self.device))
        from_camera = Rays(rays.place - middle * rays.direction, rays.direction)
        marched = self.generator.trigrid.march(planes, from_camera, None, draws)
        found = self.colours(marched.colour + (1 - marched.alpha[..., None]) * behind[:, None], ws)
        wanted = rays.colour * rays.alpha[..., None] + 1 - rays.alpha[..., None]
        return (found - wanted).abs().mean(), (marched.alpha - rays.alpha).abs().mean()

    def __call__(self) -> dict[str, float]:
        """One step: its loss and what that is made of."""
        config, random = self.config, random_generator(self.config.seed, BATCH_KEY, self.step)
        people = torch.randint(learned(config.people), (config.batch_size,), generator=random)
        first = int(torch.randint(config.rays - config.batch_rays + 1, (), generator=random))
        render = self.step >= (1 - config.rendered_share) * config.steps
        errors = self.errors(people, slice(first, first + config.batch_rays), random, render=render)
        if self.step % TRACK_EVERY == 0:
            with torch.no_grad():
                z = torch.randn(TRACKED, self.latents.shape[1], generator=random).to(self.device)
                self.generator.trigrid.backbone.mapping.track(self.generator.style(z)[:, 0])
        self.step += 1
        loss = self.regression.step(errors.total(config.colour))
        return {"loss": loss, **{name: value.item() for name, value in errors._asdict().items()}}

    @torch.no_grad()
    def strangers(self) -> dict[str, float]:
        """Errors of some people who are not learned from."""
        people = torch.arange(learned(self.config.people), self.config.people)[:STRANGERS]
        random = random_generator(self.config.seed, STRANGERS_KEY)
        parts = people.split(self.config.batch_size)
        found = [self.errors(part, slice(self.config.batch_rays), random, render=True) for part in parts]
        means = np.mean([[value.item() for value in errors] for errors in found], 0)
        return {f"strangers_{name}": float(value) for name, value in zip(Errors._fields, means, strict=True)}

    def save_model(self, path: Path) -> None:
        """See :func:`save_model`."""
        save_model(path, self.generator, self.config, self.priors, self.step)


def save_model(
    path: Path, generator: TriGridPortrait, config: TriGridPretrainConfig, priors: LabelPriors, step: int
) -> None:
    """Write the generator as ``--ckpt`` and ``init_from`` read it."""
    metadata = {"face_model": face_model_name(None), "pretraining": config_to_dict(config), "step": step}
    save_checkpoint(path, pack_model(SavedModel(generator, priors, metadata)))


def pretrain(
    config: TriGridPretrainConfig, outdir: Path, device: torch.device, *, command: str = ""
) -> TriGridPortrait:
    """The whole of it; the same call goes on where it was stopped.

    Args:
        command: that does this, for ``config.yaml``.

    Raises:
        UserError: a state of another pretraining, or a place that cannot be written to.
    """
    outdir.mkdir(parents=True, exist_ok=True)
    labels, start = DrawnLabels(config.seed, config.people), outdir / START
    if not start.exists():
        save_model(start, begin(config, labels, device), config, labels.priors(), 0)
    generator = started(config, start, device)
    draw = partial(draw_rays, config.seed, config.views, config.rays)

    def drawn(rays: np.ndarray) -> np.ndarray:
        return np.asarray(rays["direction"][:, 0].any(1))

    shape = config.people, config.rays
    rays = collect(outdir / RAYS, RAY, shape, draw, drawn, config.workers, "rays")
    learn(TriGridPretraining(config, generator, rays, labels.priors()), outdir, device, command=command)
    return generator


def started(config: TriGridPretrainConfig, path: Path, device: torch.device) -> TriGridPortrait:
    """The generator in ``path``, which :func:`begin` made. UserError where it was begun otherwise."""
    data = load_checkpoint(path)
    early = ("generator", "init_from", "seed", "expression_steps", "people")
    check_begun(path, data["metadata"].get("pretraining", {}), config, early)
    generator = build(config)
    load_weights(generator, data["state"], str(path))
    return generator.to(device)
