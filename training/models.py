"""The networks of a run, built from its configuration."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import nn

from networks.cameras import FRONTAL, PORTRAIT_CAMERA, project
from networks.discriminators import Discriminator, DiscriminatorConfig, grown
from networks.manifold.generator import Generator
from networks.manifold.generator_config import GeneratorConfig
from networks.person.body_assets import BodyArrays, default_body, head_shoulder_vertices, load_smpl
from networks.person.expressions import (
    NUM_EXPRESSION,
    check_face_model,
    columns_of,
    expression,
    face_model_name,
    face_model_of,
)
from networks.person.face_model import (
    FaceArrays,
    FaceModel,
    default_face,
    default_face_openings,
    default_face_skin,
    load_bfm,
)
from networks.person.face_recon import FaceReconstructor, load_face_recon
from networks.saved_model import unpack_model
from torch_utils.assets import find_asset
from torch_utils.checkpoint import load_checkpoint, load_weights
from torch_utils.config import check_same
from torch_utils.misc import UserError, check_file, reason
from training.config import TrainConfig
from training.losses.imitation import ImitationTarget
from training.manifold_shape import CLOSE, WIDE, fit_manifolds

RELIEF_STEPS = 400
LIDS_MEET = 0.55  # of a blink: what follows takes one lid over the other, where no smooth D^e can lead
OPEN_FACE = {"eyeWide": 0.5, "jawOpen": 0.2, "mouthUpperUp": 0.4, "mouthLowerDown": 0.4}  # of ``canonical_face``
# How files of a kind begin; ours, safetensors, with the length of a header that follows.
TORCH, PICKLE, MAT = (b"PK\x03\x04", b"\x80\x02"), (b"PK\x03\x04", b"\x80", b"(", b"c"), (b"MATLAB", b"\x89HDF")
NAMES = {TORCH: "checkpoint", PICKLE: "SMPL model (.pkl, .npz)", MAT: "face model (.mat)"}


class Networks(NamedTuple):
    """All networks; the last two are frozen, and None where no loss asks for them."""

    generator: Generator
    discriminators: nn.ModuleDict  # by name: whole, face, torso
    imitation: ImitationTarget | None
    face_recon: FaceReconstructor | None

    def to(self, device: torch.device) -> Networks:
        """The same networks on ``device``."""
        for part in self:
            if part is not None:
                part.to(device)
        return self


def load_body(config: TrainConfig) -> BodyArrays:
    """The body that the run's labels belong to."""
    return default_body() if config.body_model is None else load_smpl(config.body_model)


def load_face(config: TrainConfig) -> FaceArrays:
    """The morphable face that the run's labels belong to."""
    return default_face() if config.face_model is None else load_bfm(config.face_model)


def check_files(config: TrainConfig, *, resuming: bool = False) -> None:
    """Look at every file that ``config`` names, before anything slow begins.

    Raises:
        UserError: one is missing, is no regular file, or begins as no file of its kind does.
    """
    kinds = {"body_model": PICKLE, "face_model": MAT, "face_recon": TORCH}
    if not resuming:  # a run that goes on has its own
        kinds |= {"init_from": TORCH, "grow_from": TORCH}
    if not config.losses.landmarks:  # nobody else looks at faces
        del kinds["face_recon"]
    for key, beginnings in kinds.items():
        if getattr(config, key) is None:
            continue
        path = find_asset(getattr(config, key))
        check_file(path, key)
        try:
            with open(path, "rb") as file:
                start = file.read(9)
        except OSError as error:
            raise UserError(f"{path}: {key}: cannot be read: {reason(error)}") from error
        ours = beginnings is TORCH and start[8:] == b"{"
        if not ours and not start.startswith(beginnings):
            raise UserError(f"{path}: {key}: expected a {NAMES[beginnings]}, found a file that begins with {start!r}")


def build_networks(config: TrainConfig, *, resuming: bool = False) -> Networks:
    """The networks as a run begins with them, on the CPU; they follow from ``config.seed``.

    Args:
        resuming: other weights come on top of them, the run's own state or those of another process, so files that they
            would begin from are not read and M is fitted to nothing.

    Raises:
        UserError: a file that ``config`` names cannot be loaded.
    """
    check_files(config, resuming=resuming)
    torch.manual_seed(config.seed)
    body = load_body(config)
    generator = Generator(config.generator, body, torch.as_tensor(head_shoulder_vertices(body)))
    if config.init_from is not None and not resuming:
        load_generator(generator, config.init_from, face_model_name(config.face_model))
    elif config.manifold_init == "relief" and not resuming:
        wrap_manifolds(generator, config.seed)
    choose_trained(generator, config.stage)
    imitation = face_recon = None
    if config.losses.imitation:
        imitation = face_of(config.generator, config.face_model)
    if config.losses.landmarks and config.face_recon is not None:
        face_recon = load_face_recon(config.face_recon)
    return Networks(generator, build_discriminators(config, resuming=resuming), imitation, face_recon)


def face_to_imitate(
    face_model: str | None = None, *, to_mean_shape: bool = False, is_open: bool = False
) -> ImitationTarget:
    """What D^e imitates: the open face, or that of a file.

    Args:
        face_model: the file.
        to_mean_shape, is_open: as ``canonical_shape`` and ``canonical_face`` of the manifold generator say.

    Raises:
        UserError: the file cannot be loaded.
    """
    if face_model is not None:
        if is_open:
            found = "open, which is an expression of the open face"
            raise UserError(f"generator.canonical_face: expected neutral where a face_model is given, found {found}")
        return ImitationTarget(FaceModel(load_bfm(face_model)), to_mean_shape=to_mean_shape)
    face, skin, openings = FaceModel(default_face()), default_face_skin(), default_face_openings()
    towards = most = None
    if is_open:
        towards, most = torch.from_numpy(expression(**OPEN_FACE)), most_of_expressions()
    return ImitationTarget(
        face, vertex_index=skin, openings=openings, to_mean_shape=to_mean_shape, towards=towards, most=most
    )


def most_of_expressions() -> torch.Tensor:
    """[64] of every number of an expression that moves a face of :data:`OPEN_FACE`."""
    most = torch.full((NUM_EXPRESSION,), torch.inf)
    most[list(columns_of("eyeBlink"))] = LIDS_MEET
    return most


def face_of(config: GeneratorConfig, face_model: str | None = None) -> ImitationTarget:
    """What D^e of a manifold generator imitates; see :func:`face_to_imitate`."""
    to_mean_shape, is_open = config.canonical_shape == "mean", config.canonical_face == "open"
    return face_to_imitate(face_model, to_mean_shape=to_mean_shape, is_open=is_open)


def build_discriminators(config: TrainConfig, *, resuming: bool = False) -> nn.ModuleDict:
    """The discriminators that take part: fresh ones, or those of ``config.grow_from``, grown.

    Raises:
        UserError: ``grow_from`` is no state of a run, or has no such discriminators.
    """
    old = None if resuming else config.grow_from
    learned = None if old is None else load_discriminators(old)
    built = nn.ModuleDict()
    for name in config.discriminators.active:
        width, height = config.picture_size(name)
        base, most = config.discriminators.channel_base, config.discriminators.max_channels
        sizes = DiscriminatorConfig(width=width, height=height, channel_base=base, max_channels=most)
        built[name] = Discriminator(sizes) if old is None or learned is None else grow(learned, name, sizes, old)
    return built


def load_discriminators(path: str) -> dict[str, torch.Tensor]:
    """The discriminators' weights in ``state.safetensors`` of a run.

    Raises:
        UserError: the file cannot be read or is something else.
    """
    state = load_checkpoint(path)
    if not isinstance(state.get("discriminators"), dict):
        raise UserError(f"{path}: expected the state of a training run (state.safetensors), found no 'discriminators'")
    return state["discriminators"]


def grow(learned: dict[str, torch.Tensor], name: str, sizes: DiscriminatorConfig, path: str) -> Discriminator:
    """The discriminator ``name`` of a run at an equal or smaller size, grown to ``sizes``.

    Raises:
        UserError: no such discriminator in ``path``, or one that cannot be grown so.
    """
    where = f"{path}: discriminators.{name}"
    weights = {key.removeprefix(f"{name}."): value for key, value in learned.items() if key.startswith(f"{name}.")}
    blocks, most = len({key.split(".")[1] for key in weights if key.startswith("blocks.")}), len(sizes.channels) - 1
    if not weights or blocks > most:
        found = f"one of {blocks}" if weights else "no such discriminator"
        raise UserError(f"{where}: expected {most} blocks or fewer, found {found}")
    doublings = most - blocks
    try:
        small = replace(sizes, width=sizes.width >> doublings, height=sizes.height >> doublings)
        discriminator = Discriminator(small)
        load_weights(discriminator, weights, where)
        for _ in range(doublings):
            discriminator = grown(discriminator)
    except ValueError as error:  # of sizes
        raise UserError(f"{where}: {error}") from error
    return discriminator


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


def load_generator(generator: Generator, path: str, face_model: str | None = None) -> None:
    """Take the weights of a saved model, for instance ``runs/stage1/latest``, with its body.

    Raises:
        UserError: no model, one of other sizes, or of another face model than ``face_model`` (where given).
    """
    model = unpack_model(load_checkpoint(path), path)
    check_face_model(face_model_of(model.metadata), face_model, path)
    check_same_space(generator, model.generator, path)
    load_weights(generator, model.generator.state_dict(), path)


def check_same_space(generator: Generator, saved: Generator, path: str) -> None:
    """UserError naming ``path`` where weights of ``saved`` would mean something else in ``generator``."""
    # Nothing among the weights tells these.
    canonical = ("canonical_shape", "canonical_face")
    parts = ("pose", "expression", *canonical, "num_manifolds", "first_level", "last_level", "manifold_centre")
    check_same(parts, saved.config, generator.config, path)


def wrap_manifolds(generator: Generator, seed: int) -> None:
    """Fit M so that its level sets, at first, lie around head and shoulders of the mean body."""
    average = generator.body.canonical_vertices(torch.zeros(1, 10))[0].numpy()
    close = generator.config.canonical_shape == "mean"
    fit_manifolds(
        generator, average, steps=(4 if close else 1) * RELIEF_STEPS, seed=seed, layers=CLOSE if close else WIDE
    )


@torch.no_grad()
def manifold_coverage(generator: Generator) -> float:
    """How much of the mean body's front, as the frontal portrait shows it, lies between the outer- and the innermost
    manifold: the share of the cells of a grid over the picture."""
    body, cells = generator.body, 24
    betas = torch.zeros(1, 10, device=body.v_template.device)
    vertices = body.canonical_vertices(betas)
    vertices = torch.cat([vertices, vertices[:, body.faces].mean(2)], 1)  # where the mesh is coarse, faces count
    place = project(vertices, torch.full_like(betas[:, :2], FRONTAL), PORTRAIT_CAMERA)[0]  # [V, 3]
    seen = (place[:, :2].abs() < 1).all(-1)
    column, row = ((place[seen, :2] + 1) / 2 * cells).long().unbind(-1)
    distance, s = place[seen, 2], generator.manifolds(vertices)[0, seen]
    nearest = torch.full((cells * cells,), torch.inf, device=s.device)
    nearest = nearest.scatter_reduce(0, row * cells + column, distance, "amin")
    front = distance == nearest[row * cells + column]
    levels = generator.manifolds.levels
    return ((s <= levels[0]) & (s >= levels[-1]))[front].float().mean().item()
