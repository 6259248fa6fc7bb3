"""The networks of a run, built from its configuration."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn

from networks.body_assets import BodyArrays, embedded_body, head_shoulder_vertices, load_smpl
from networks.cameras import PORTRAIT_CAMERA, project
from networks.discriminators import Discriminator, DiscriminatorConfig
from networks.face_model import FaceArrays, FaceModel, embedded_face, load_bfm
from networks.face_recon import FaceReconstructor, load_face_recon
from networks.generator import Generator
from networks.generator_config import GeneratorConfig
from networks.saved_model import unpack_model
from torch_utils.checkpoint import load_checkpoint, load_weights
from torch_utils.misc import UserError
from training.config import TrainConfig
from training.demo.manifold_shape import fit_manifolds
from training.losses.imitation import ImitationTarget, embedded_skin_vertices

RELIEF_STEPS = 400


class Networks(NamedTuple):
    """All networks; the last two are frozen, and None where no loss asks for them."""

    generator: Generator
    discriminators: nn.ModuleDict  # by name: whole, face, torso
    imitation: ImitationTarget | None
    face_recon: FaceReconstructor | None

    def to(self, device: torch.device) -> Networks:
        """The same networks on ``device``."""
        return Networks(*(part if part is None else part.to(device) for part in self))


def load_body(config: TrainConfig) -> BodyArrays:
    """The body that the run's labels belong to."""
    return embedded_body() if config.body_model is None else load_smpl(config.body_model)


def load_face(config: TrainConfig) -> FaceArrays:
    """The morphable face that the run's labels belong to."""
    return embedded_face() if config.face_model is None else load_bfm(config.face_model)


def build_networks(config: TrainConfig) -> Networks:
    """Fresh networks, on the CPU; they follow from ``config.seed``.

    Raises:
        UserError: a file that ``config`` names cannot be loaded.
    """
    torch.manual_seed(config.seed)
    body = load_body(config)
    generator = Generator(config.generator, body, torch.as_tensor(head_shoulder_vertices(body)))
    if config.init_from is not None:
        load_generator(generator, config.init_from)
    elif config.manifold_init == "relief":
        wrap_manifolds(generator, config.seed)
    choose_trained(generator, config.stage)
    imitation = face_recon = None
    if config.losses.imitation:
        skin = embedded_skin_vertices() if config.face_model is None else None
        imitation = ImitationTarget(FaceModel(load_face(config)), vertex_index=skin)
    if config.losses.landmarks:
        face_recon = load_face_recon(config.face_recon)
    return Networks(generator, build_discriminators(config), imitation, face_recon)


def build_discriminators(config: TrainConfig) -> nn.ModuleDict:
    """Fresh discriminators, those that take part."""
    built = nn.ModuleDict()
    for name in config.discriminators.active:
        width, height = config.picture_size(name)
        base, most = config.discriminators.channel_base, config.discriminators.max_channels
        built[name] = Discriminator(
            DiscriminatorConfig(width=width, height=height, channel_base=base, max_channels=most)
        )
    return built


def choose_trained(generator: Generator, stage: int) -> None:
    """Stage 1 trains everything but U (and phi's features, which only U reads); stage 2 trains U alone."""
    generator.requires_grad_(stage == 1)
    generator.superresolution.requires_grad_(stage == 2)
    generator.radiance.to_feature.requires_grad_(False)
    config: GeneratorConfig = generator.config
    if config.pose != "smoothed":
        generator.pose_deformation.requires_grad_(False)
    if not config.expression:
        generator.expression_deformation.requires_grad_(False)


def load_generator(generator: Generator, path: str) -> None:
    """Take the weights of a saved model, for instance ``runs/stage1/latest``, with its body.

    Raises:
        UserError: no model, or one of other sizes.
    """
    saved = unpack_model(load_checkpoint(path), path).generator
    for part in ("pose", "expression"):
        if getattr(saved.config, part) != getattr(generator.config, part):
            found = f"{getattr(saved.config, part)}, in the configuration {getattr(generator.config, part)}"
            raise UserError(f"{path}: generator.{part}: expected the same in both stages, found {found}")
    load_weights(generator, saved.state_dict(), path)


def wrap_manifolds(generator: Generator, seed: int) -> None:
    """Fit M so that its level sets, at first, lie around head and shoulders of the mean body."""
    average = generator.body.canonical_vertices(torch.zeros(1, 10))[0].numpy()
    fit_manifolds(generator, average, steps=RELIEF_STEPS, seed=seed)


@torch.no_grad()
def manifold_coverage(generator: Generator) -> float:
    """How much of the mean body's front, as the frontal portrait shows it, lies between the outer- and the innermost
    manifold: the share of the cells of a grid over the picture."""
    body, cells = generator.body, 24
    betas = torch.zeros(1, 10, device=body.v_template.device)
    vertices = body.canonical_vertices(betas)
    place = project(vertices, torch.full_like(betas[:, :2], torch.pi / 2), PORTRAIT_CAMERA)[0]  # [V, 3]
    seen = (place[:, :2].abs() < 1).all(-1)
    column, row = ((place[seen, :2] + 1) / 2 * cells).long().unbind(-1)
    distance, s = place[seen, 2], generator.manifolds(vertices)[0, seen]
    nearest = torch.full((cells * cells,), torch.inf, device=s.device)
    nearest = nearest.scatter_reduce(0, row * cells + column, distance, "amin")
    front = distance == nearest[row * cells + column]
    levels = generator.manifolds.levels
    return ((s <= levels[0]) & (s >= levels[-1]))[front].float().mean().item()
