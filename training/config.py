"""The configuration of a training run: one YAML file, read into frozen dataclasses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from networks.manifold.generator_config import UPSCALE, GeneratorConfig
from torch_utils.config import config_from_dict, load_layered, merge, parse_overrides
from torch_utils.misc import UserError

DISCRIMINATORS = ("whole", "face", "torso")


@dataclass(frozen=True, kw_only=True)
class AdversaryConfig:
    """One discriminator."""

    weight: float  # of its score in the generator's loss; 0 leaves the discriminator out
    r1_gamma: float  # 0.5 * gamma * |grad|^2 on real images


@dataclass(frozen=True, kw_only=True)
class DiscriminatorsConfig:
    """D_whole sees the portrait, D_face the face, D_torso the portrait's lowest quarter."""

    whole: AdversaryConfig
    face: AdversaryConfig
    torso: AdversaryConfig
    # Where D_face's pictures come from: a camera of their own, or aligned crops of the portrait (an ablation).
    face_view: Literal["camera", "crop"] = "camera"
    channel_base: int = 8192  # channels of a block that sees W pixels: min(channel_base / W, max_channels)
    max_channels: int = 400
    r1_interval: int = 1  # R1 every so many steps, with as many times its weight

    def __post_init__(self):
        if not any(self.active):
            raise ValueError("discriminators: expected one with a weight above 0, found none")
        if self.r1_interval < 1:
            raise ValueError(f"r1_interval: expected a positive whole number, found {self.r1_interval}")

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

    camera: float = 15.0  # regression of (pitch, yaw) by every discriminator, beside its score
    landmarks: float = 0.0  # eq. 9
    imitation: float = 0.0  # eq. 10
    pose_smooth: float = 0.0  # eq. 11
    expression_smooth: float = 0.0  # eq. 12
    expression_minimal: float = 0.0  # eq. 13
    opacity: float = 0.0  # mean opacity: on white pictures discriminators cannot tell white surfaces from nothing
    map_consistency: float = 0.0  # stage 2: U's maps, looked at coarsely, against phi's
    image_consistency: float = 0.0  # stage 2: the image likewise
    points: int = 4096  # points a picture at which eqs. 10, 12 and 13 are evaluated
    jitter: float = 0.004  # standard deviation of eq. 12's delta, canonical units


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """Adam for both sides, and the running means of the generator's weights."""

    batch_size: int = 32  # images a step, over all processes
    g_lr: float = 2e-5
    d_lr: float = 2e-4
    betas: tuple[float, float] = (0.0, 0.9)
    clip_norm: float = 0.3  # of the gradient of a sub-network of G, or of a discriminator
    head_lr_scale: float = 1.0  # times g_lr for phi's linear heads, whose outputs are large beside a SIREN's weights
    expression_lr_scale: float = 1.0  # times g_lr for D^e, whose outputs are millimetres where the unit is a metre
    ema_decays: tuple[float, ...] = (0.999, 0.9999)  # a step; the first one's generator is the one that is kept
    ema_rampup: float = 0.05  # a mean reaches back over at most this share of the steps so far

    def __post_init__(self):
        if not self.ema_decays:
            raise ValueError("ema_decays: expected at least one number, found none")
        for name in ("betas", "ema_decays"):
            if max(getattr(self, name)) >= 1:
                raise ValueError(f"{name}: expected numbers below 1, found {max(getattr(self, name))}")


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """How a run goes about it. Nothing here changes what is computed beyond rounding, so it may change on resuming."""

    total_kimg: float = 10_000.0  # thousands of images to train for
    micro_batch: int = 0  # images a process renders at a time, the rest of its batch is accumulated; 0: all
    rays_per_chunk: int = 0  # stage 1: recompute the backward pass in chunks of so many rays; 0: keep everything
    manifolds_per_chunk: int = 0  # stage 2: the same of U, manifolds at a time
    precision: Literal["auto", "fp32", "tf32", "bf16"] = "auto"  # auto: bf16 on GPUs that have it, else fp32
    workers: int = 2  # processes that decode images
    tick_kimg: float = 4.0  # a line of statistics
    snapshot_kimg: float = 40.0  # pictures, and everything needed to resume
    snapshot_people: int = 6  # rows of the picture
    metric_images: int = 512  # for the distance to the data at a snapshot; 0: none is computed
    metric_detector: Literal["random", "attributes", "inception"] = "random"  # whose features it compares


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """A whole run."""

    stage: Literal[1, 2]
    generator: GeneratorConfig
    discriminators: DiscriminatorsConfig
    losses: LossConfig
    optim: OptimConfig
    run: RunConfig
    seed: int = 0
    mirror: bool = True  # half of the training images are mirrored
    manifold_init: Literal["relief", "spheres"] = "relief"  # M's first level sets: around the mean body, or as released
    # Stage 2: U's first weights, or bilinear interpolation of phi's maps to begin with.
    superresolution_init: Literal["random", "interpolation"] = "random"
    expression_warmup: int = 0  # steps of D^e alone (eq. 10) before a run that begins from nothing
    init_from: str | None = None  # stage 2: the model of stage 1; stage 1: a model of another size to go on from
    grow_from: str | None = None  # state.pt of a run at a smaller size, whose discriminators grow
    body_model: str | None = None  # SMPL file that the labels belong to; null: the embedded body
    face_model: str | None = None  # BFM_model_front.mat that the labels belong to; null: the embedded face
    face_recon: str | None = None  # weights of the face reconstruction net (eq. 9)

    def __post_init__(self):
        _check_positive(self)
        sizes = self.generator
        room = min(2 * sizes.feature_dim, 2 * sizes.sr_features, *sizes.sr_up_channels) >= 8
        checks = {
            "seed": (self.seed < 2**63, "a number below 2^63"),
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


# Numbers that may be 0, beside those of LossConfig; all others must be above.
_MAY_BE_ZERO = {
    "micro_batch",
    "rays_per_chunk",
    "manifolds_per_chunk",
    "expression_warmup",
    "metric_images",
    "weight",
    "r1_gamma",
    "seed",
    "betas",
    "ema_rampup",
}


def _check_positive(config: Any, prefix: str = "") -> None:
    """ValueError naming the first number in ``config`` that is negative, not finite or a zero that makes no sense."""
    for field in fields(config):
        value, name = getattr(config, field.name), prefix + field.name
        if isinstance(value, DiscriminatorsConfig | AdversaryConfig | LossConfig | OptimConfig | RunConfig):
            _check_positive(value, f"{name}.")
        numbers = value if isinstance(value, tuple) else (value,)
        for number in numbers:
            if isinstance(number, bool) or not isinstance(number, int | float):
                continue
            zero = field.name in _MAY_BE_ZERO or (isinstance(config, LossConfig) and field.name != "points")
            if not math.isfinite(number) or number < 0 or (number == 0 and not zero):
                expected = "a number of at least 0" if zero else "a number above 0"
                raise ValueError(f"{name}: expected {expected}, found {number}")


def load_train_config(path: str | Path, preset: str | Path | None = None, overrides: Sequence[str] = ()) -> TrainConfig:
    """Read a configuration: the file with its bases, a preset laid over it, then ``key=value`` from the command line.

    A key that is not nested may be given without its section: ``--batch_size 8`` means ``--optim.batch_size 8``.

    Raises:
        UserError: naming the file and the key.
    """
    data = load_layered(path)
    if preset is not None:
        data = merge(data, load_layered(preset))
    changes = parse_overrides(overrides)
    data = merge(data, {})
    for key, value in changes.items():
        data = merge(data, _in_section(key, value))
    return config_from_dict(TrainConfig, data, f"{path}{' with what the command line changes' if changes else ''}")


def _in_section(key: str, value: Any) -> dict[str, Any]:
    """{key: value}, inside the section that has such a key where the top level has none."""
    if key in {field.name for field in fields(TrainConfig)}:
        return {key: value}
    sections = {
        "optim": OptimConfig,
        "run": RunConfig,
        "losses": LossConfig,
        "discriminators": DiscriminatorsConfig,
        "generator": GeneratorConfig,
    }
    for section, cls in sections.items():
        if key in {field.name for field in fields(cls)}:
            return {section: {key: value}}
    raise UserError(f"--{key}: no such option, and no such key in the configuration")
