"""The configuration of a training run: one YAML file, read into frozen dataclasses."""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from networks.discriminators import ChannelBase, MaxChannels
from networks.manifold.generator_config import MAX_MANIFOLDS, UPSCALE, GeneratorConfig
from torch_utils.bounds import MAX_BATCH, MAX_IMAGES, MAX_SEED, MAX_WORKERS, Range, check_ranges
from torch_utils.config import config_from_dict, load_layered, merge, parse_overrides
from torch_utils.misc import UserError

DISCRIMINATORS = ("whole", "face", "torso")
# Those that come first are looked at first for a key without its section.
SECTIONS = ("optim", "run", "losses", "discriminators", "discriminator", "schedules", "generator")
MAX_MEANS = 4  # running means, each as large as the generator
TINY = 1e-12  # for numbers that must be above 0
Weight = Annotated[float, Range(0.0, 1e6)]
Factor = Annotated[float, Range(TINY, 1e6)]
Rate = Annotated[float, Range(TINY, 10.0)]
Decay = Annotated[float, Range(0.0, 1 - 1e-9)]
Thousands = Annotated[float, Range(TINY, 1e6)]  # of images


@dataclass(frozen=True, kw_only=True)
class AdversaryConfig:
    """One discriminator."""

    weight: Weight  # of its score in the generator's loss; 0 leaves the discriminator out
    r1_gamma: Weight  # 0.5 * gamma * |grad|^2 on real images
    r2_gamma: Weight = 0.0  # the same on generated ones

    def __post_init__(self):
        check_ranges(self)


@dataclass(frozen=True, kw_only=True)
class DiscriminatorsConfig:
    """D_whole sees the portrait, D_face the face, D_torso the portrait's lowest quarter."""

    whole: AdversaryConfig
    face: AdversaryConfig
    torso: AdversaryConfig
    # Where D_face's pictures come from: a camera of their own, or aligned crops of the portrait (an ablation).
    face_view: Literal["camera", "crop"] = "camera"
    channel_base: ChannelBase = 8192  # channels of a block that sees W pixels: min(channel_base / W, max_channels)
    max_channels: MaxChannels = 400
    r1_interval: Annotated[int, Range(1, 1000)] = 1  # R1 and R2 every so many steps, with as many times their weight

    def __post_init__(self):
        check_ranges(self)
        if not any(self.active):
            raise ValueError("discriminators: expected one with a weight above 0, found none")

    @property
    def active(self) -> tuple[str, ...]:
        """Names of those that take part."""
        return tuple(name for name in DISCRIMINATORS if getattr(self, name).weight > 0)

    @property
    def views(self) -> tuple[str, ...]:
        """Names of the cameras that have to be rendered."""
        by_camera = "face" in self.active and self.face_view == "camera"
        of_portrait = [name for name in self.active if not (name == "face" and by_camera)]
        return (("portrait",) if of_portrait else ()) + (("face",) if by_camera else ())


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """Weights of the losses; 0 leaves one out."""

    # What discriminators are to tell: whether a picture is real, or which one of a real and a generated one is.
    adversarial: Literal["non_saturating", "relativistic"] = "non_saturating"
    camera: Weight = 15.0  # regression of (pitch, yaw) by every discriminator, beside its score
    landmarks: Weight = 0.0  # eq. 9
    imitation: Weight = 0.0  # eq. 10
    pose_smooth: Weight = 0.0  # eq. 11
    expression_smooth: Weight = 0.0  # eq. 12
    expression_minimal: Weight = 0.0  # eq. 13
    opacity: Weight = 0.0  # mean opacity: on white pictures discriminators cannot tell white surfaces from nothing
    map_consistency: Weight = 0.0  # stage 2: U's maps, looked at coarsely, against phi's
    image_consistency: Weight = 0.0  # stage 2: the image likewise
    points: Annotated[int, Range(1, 2**20)] = 4096  # points a picture at which eqs. 10, 12 and 13 are evaluated
    jitter: Annotated[float, Range(0.0, 1.0)] = 0.004  # standard deviation of eq. 12's delta, canonical units

    def __post_init__(self):
        check_ranges(self)


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """Adam for both sides, and the running means of the generator's weights."""

    batch_size: Annotated[int, Range(1, MAX_BATCH)] = 32  # images a step, over all processes
    g_lr: Rate = 2e-5
    d_lr: Rate = 2e-4
    betas: tuple[Decay, Decay] = (0.0, 0.9)
    clip_norm: Factor = 0.3  # of the gradient of a sub-network of G, or of a discriminator
    head_lr_scale: Factor = 1.0  # times g_lr for phi's linear heads, whose outputs are large beside a SIREN's weights
    expression_lr_scale: Factor = 1.0  # times g_lr for D^e, whose outputs are millimetres where the unit is a metre
    ema_decays: tuple[Decay, ...] = (0.999, 0.9999)  # a step; the first one's generator is the one that is kept
    ema_rampup: Weight = 0.05  # a mean reaches back over at most this share of the steps so far

    def __post_init__(self):
        check_ranges(self)
        if not 1 <= len(self.ema_decays) <= MAX_MEANS:
            raise ValueError(f"ema_decays: expected 1 to {MAX_MEANS} numbers, found {len(self.ema_decays)}")


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """How a run goes about it. Nothing here changes what is computed beyond rounding, so it may change on resuming."""

    total_kimg: Thousands = 10_000.0  # thousands of images to train for
    micro_batch: Annotated[int, Range(0, MAX_BATCH)] = (
        0  # images a process renders at a time, the rest of its batch is accumulated; 0: all
    )
    d_micro_batch: Annotated[int, Range(0, MAX_BATCH)] = (
        0  # pictures that the discriminators learn from at a time; 0: as many as are rendered at a time
    )
    rays_per_chunk: Annotated[int, Range(0, 2**24)] = (
        0  # stage 1: recompute the backward pass in chunks of so many rays; 0: keep everything
    )
    manifolds_per_chunk: Annotated[int, Range(0, MAX_MANIFOLDS)] = 0  # stage 2: the same of U, manifolds at a time
    precision: Literal["auto", "fp32", "tf32", "bf16"] = "auto"  # auto: bf16 where GPU or CPU has it, else fp32
    workers: Annotated[int, Range(0, MAX_WORKERS)] = 2  # processes that decode images; 0: the training one
    tick_kimg: Thousands = 4.0  # a line of statistics
    snapshot_kimg: Thousands = 40.0  # pictures, and everything needed to resume
    snapshot_people: Annotated[int, Range(1, 64)] = 6  # rows of the picture
    metric_images: Annotated[int, Range(0, MAX_IMAGES)] = (
        512  # for the distance to the data at a snapshot; 0: none is computed
    )
    metric_detector: Literal["random", "attributes", "efficientnet", "inception"] = (
        "random"  # whose features it compares
    )

    def __post_init__(self):
        check_ranges(self)


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """A whole run."""

    stage: Literal[1, 2]
    generator: GeneratorConfig
    discriminators: DiscriminatorsConfig
    losses: LossConfig
    optim: OptimConfig
    run: RunConfig
    seed: Annotated[int, Range(0, MAX_SEED)] = 0
    mirror: bool = True  # half of the training images are mirrored
    manifold_init: Literal["relief", "spheres"] = "relief"  # M's first level sets: around the mean body, or as released
    # Stage 2: U's first weights, or bilinear interpolation of phi's maps to begin with.
    superresolution_init: Literal["random", "interpolation"] = "random"
    expression_warmup: Annotated[int, Range(0, 10**6)] = (
        0  # steps of D^e alone (eq. 10) before a run that begins from nothing
    )
    # Steps, the first ones, in which the discriminators learn alone, while G stands still: untrained ones would lead a
    # G that is good already (init_from) astray.
    discriminator_warmup: Annotated[int, Range(0, 10**6)] = 0
    init_from: str | None = None  # to go on from: stage 2 needs stage 1's; stage 1 may have any, or training.pretrain's
    grow_from: str | None = None  # state.safetensors of a run at a smaller size, whose discriminators grow
    body_model: str | None = None  # SMPL file that the labels belong to; null: the open body
    face_model: str | None = None  # BFM_model_front.mat that the labels belong to; null: the open face
    face_recon: str | None = None  # weights of the face reconstruction net (eq. 9)

    def __post_init__(self):
        check_ranges(self)
        sizes = self.generator
        room = min(2 * sizes.feature_dim, 2 * sizes.sr_features, *sizes.sr_up_channels) >= 8
        checks = {
            "init_from": (self.stage == 1 or self.init_from is not None, "the model of stage 1 (runs/.../latest)"),
            "expression_warmup": (
                self.expression_warmup == 0 or self.losses.imitation > 0,
                "0 without losses.imitation",
            ),
            "generator.superresolution": (self.generator.superresolution == (self.stage == 2), "true in stage 2 only"),
            "run.metric_images": (self.run.metric_images != 1, "0, or 2 and more: one picture has no variance"),
            "superresolution_init": (
                self.superresolution_init == "random" or room,
                "random where feature_dim < 4, sr_features < 4 or sr_up_channels < 8",
            ),
            "grow_from": (self.grow_from is None or self.init_from is not None, "null where init_from is null"),
            "face_recon": (self.losses.landmarks == 0 or self.face_recon is not None, "a file where landmarks > 0"),
            "generator.lowres_size": (math.log2(self.generator.lowres_size).is_integer(), "a power of two"),
        }
        for name, (holds, expected) in checks.items():
            if not holds:
                raise ValueError(f"{name}: expected {expected}")

    @property
    def portrait_size(self) -> int:
        """Pixels a side of the portraits that discriminators see."""
        return self.generator.lowres_size * (UPSCALE if self.stage == 2 else 1)

    @property
    def face_size(self) -> int:
        """Pixels a side of the face pictures: in stage 2 half of the portrait's."""
        return self.generator.lowres_size * (UPSCALE // 2 if self.stage == 2 else 1)

    def picture_size(self, discriminator: str) -> tuple[int, int]:
        """(width, height) of what a discriminator sees."""
        width = self.face_size if discriminator == "face" else self.portrait_size
        return width, width // 4 if discriminator == "torso" else width


def load_train_config(
    path: str | Path, preset: str | Path | None = None, overrides: Sequence[str] = (), cls: type = TrainConfig
) -> Any:
    """Read a configuration: the file with its bases, a preset laid over it, then ``key=value`` from the command line.

    A key that is not nested may be given without its section: ``--batch_size 8`` means ``--optim.batch_size 8``.

    Args:
        cls: whose fields are the keys.

    Raises:
        UserError: naming the file and the key.
    """
    data = load_layered(path)
    if preset is not None:
        data = merge(data, load_layered(preset))
    changes = parse_overrides(overrides)
    data = merge(data, {})
    for key, value in changes.items():
        data = merge(data, _in_section(cls, key, value))
    return config_from_dict(cls, data, f"{path}{' with what the command line changes' if changes else ''}")


def _in_section(cls: type, key: str, value: Any) -> dict[str, Any]:
    """{key: value}, inside the section that has such a key where the top level has none."""
    hints = typing.get_type_hints(cls)
    if key in hints:
        return {key: value}
    for section in SECTIONS:
        part = hints.get(section)
        if dataclasses.is_dataclass(part) and key in {field.name for field in fields(part)}:
            return {section: {key: value}}
    raise UserError(f"--{key}: no such option, and no such key in the configuration")


def representation_of(data: Mapping[str, Any], where: str, known: Iterable[str]) -> str:
    """What a configuration's people are made of (``generator.representation``; by default, manifolds).

    Args:
        data: the whole configuration.
        where: its file, for messages.
        known: what it may be.

    Raises:
        UserError: it is something else.
    """
    generator = data.get("generator")
    name = generator.get("representation", "manifolds") if isinstance(generator, Mapping) else "manifolds"
    if name not in known:
        raise UserError(f"{where}: generator.representation: expected {' or '.join(known)}, found {name!r}")
    return name
