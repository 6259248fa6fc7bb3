"""The pipeline a user calls: a checkpoint, a person, a frame.

pipe = PortraitPipeline.from_checkpoint("ckpts/demo.safetensors")
person = pipe.person(seed=3, psi=0.7)
frame = person.render(expression=[64], joint_eulers=[6, 3], camera=(pitch, yaw))   # frame.image [3, H, W]
"""

import functools
import math
import operator
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor

from inference.fast.body import FastBody
from inference.fast.renderer import FastPerson, FastRenderer
from inference.portable.avatar import LayeredAvatar
from inference.portable.build import AvatarOptions, build_avatar
from inference.portable.renderer import LayersRenderer
from inference.portable.skinning import SmoothedSkinning
from inference.portable.surfaces import Surfaces, find_surfaces
from inference.released_checkpoint import GENERATORS, load_config, load_released, released_state
from networks.cameras import FRONTAL
from networks.compositing import Frame
from networks.gaussian.portraits import CONVENTIONS
from networks.manifold.generator import Generator, PersonStyle
from networks.manifold.one_person import person_of
from networks.person.body_assets import body_from_dict, load_smpl
from networks.person.controls import EVERYTHING, MAX_EULER, MAX_YAW, Controls
from networks.person.expressions import face_model_of
from networks.person.priors import LabelPriors, Latents
from networks.saved_model import SavedModel, unpack_model
from networks.trigrid.portrait import TriGridPortrait
from torch_utils.checkpoint import FORMAT, check_format, load_raw
from torch_utils.misc import UserError, resolve_device
from torch_utils.ops.point_network import cpu_has_bf16

DEMO = Path(__file__).resolve().parents[1] / "ckpts" / "demo.safetensors"  # the shipped model
FRONTAL_CAMERA = (FRONTAL, FRONTAL)
CAMERA_RANGE = ((0.0, -MAX_YAW), (math.pi, MAX_YAW))  # of pitch, of yaw
Array = Tensor | np.ndarray | Sequence[float]  # or anything torch.as_tensor takes
Quality = Literal["fast", "exact", "layers"]
QUALITIES = get_args(Quality)


class Person:
    """One identity with its flattened manifolds; made by :meth:`PortraitPipeline.person`."""

    def __init__(self, pipe: "PortraitPipeline", latents: Latents, psi: float, style: PersonStyle | None = None):
        self.latents = latents  # [1, .] each
        self._pipe, self._psi = pipe, psi
        with torch.inference_mode():
            style = pipe.generator.style(latents.z_id, latents.z_noise, psi=psi) if style is None else style
            with rounded_products(pipe.device):
                self.manifolds = pipe.generator.build_manifolds(style)

    @functools.cached_property
    def _fast(self) -> FastPerson:
        return self._pipe.fast_renderer.person(self.manifolds, self.latents.z_id, self.latents.betas)

    @functools.cached_property
    def _layers(self) -> LayersRenderer:
        generator, who = self._pipe.generator, self.latents
        smoothed = generator.config.pose == "smoothed"
        skinning = SmoothedSkinning(generator, FastBody(generator.body, who.betas)) if smoothed else None
        return LayersRenderer(self.avatar(), generator.config.image_size, who.betas.device, skinning)

    def avatar(self, options: AvatarOptions | None = None, metadata: Mapping[str, Any] | None = None) -> LayeredAvatar:
        """This person as layers of mesh with a skeleton and blendshapes, which need no network any more.

        Args:
            options: how closely it follows the person; the defaults lose little that is seen.
            metadata: plain data to go along, beside what the model says about itself.

        Raises:
            UserError: no layer can be seen, or the maps are not finite.
        """
        pipe, maps = self._pipe, self.manifolds.high[0]
        about = {"psi": self._psi, "model": pipe.metadata.get("what"), **(metadata or {})}
        about |= {"about": "likeness of a person in a photo"} if "photo" in pipe.metadata else {}
        options = options or AvatarOptions()
        expressions = pipe.face_model, pipe.priors
        return build_avatar(pipe.generator, pipe.surfaces, maps, self.latents, *expressions, options, about)

    @torch.inference_mode()
    def render(
        self,
        expression: Array | None = None,
        joint_eulers: Array | None = None,
        camera: Array = FRONTAL_CAMERA,
        quality: Quality = "exact",
    ) -> Frame:
        """One frame.

        Args:
            expression: [64] coefficients of the checkpoint's face model (``PortraitPipeline.face_model``); neutral by
                default. Of "arkit" the first 52 are the facial actions, 0..1: ``networks.person.expressions``.
            joint_eulers: [6, 3] Euler angles of neck, left collar, right collar, head, left shoulder, right shoulder
                (R = Rz(e0) Ry(e1) Rx(e2)), radians; the mean pose by default.
            camera: (pitch, yaw) radians; (pi/2, pi/2) is frontal.
            quality: ``exact`` is the method as it is; ``fast`` interpolates what is smooth in it (see
                inference.fast.renderer), and the pipeline's first fast frame takes a few seconds longer; ``layers``
                draws the person's :meth:`avatar`, which the first one makes, in seconds.

        Returns:
            Frame without the batch dimension: image [3, H, W] in -1..1, image_lr [3, h, w], depth and alpha [H, W].

        Raises:
            ValueError: a wrong shape, NaN or infinity, degrees where radians are expected; another quality.
        """
        # Other frames take their numbers from the CPU: what depends on them alone is prepared there.
        device = self.latents.betas.device if quality == "exact" else torch.device("cpu")
        z_exp, eulers, view = checked_controls(expression, joint_eulers, camera, quality, device)
        if quality == "layers":
            return self._layers.render(z_exp, eulers, view)
        if quality == "fast":
            frame = self._pipe.fast_renderer.render(self._fast, z_exp[None], eulers[None], view[None])
        else:
            who = self.latents
            frame = self._pipe.generator.render(
                self.manifolds, who.z_id, z_exp[None], who.betas, eulers[None], view[None]
            )
        return Frame(*(part[0] for part in frame))


def rounded_products(device: torch.device) -> torch.autocast:
    """For phi and U: bfloat16 on a CPU that multiplies in it.

    The demo's maps are then 55 dB from those of float32; 8 bits a colour are 59.
    """
    return torch.autocast("cpu", torch.bfloat16, enabled=device.type == "cpu" and cpu_has_bf16())


class PortraitPipeline:
    """A generator with its priors, ready to draw people.

    Attributes:
        generator: the networks, in eval mode.
        priors: rows of labels to sample from, or None.
        metadata: what the checkpoint says about itself.
    """

    only_one: ClassVar[str] = "a model of one person"  # what it is where there is nobody but seed 0, for messages

    def __init__(self, model: SavedModel, device: str | torch.device = "cpu"):
        self.device = resolve_device(str(device))
        self.generator: Generator = model.generator.to(self.device).eval().requires_grad_(False)
        self.priors: LabelPriors | None = model.priors
        self.metadata = model.metadata
        self._only = None if model.person is None else {n: part.to(self.device) for n, part in model.person.items()}

    @property
    def one_person(self) -> bool:
        """Whether there is nobody but seed 0: the file is a person's, of a photo (inference.invert) or of captures."""
        return self._only is not None

    @property
    def face_model(self) -> str | None:
        """Whose expressions it takes, by name (networks/person/expressions.py); None: the checkpoint does not say."""
        return face_model_of(self.metadata)

    @property
    def controls(self) -> Controls:
        """What moves its people, beside head and camera."""
        return EVERYTHING

    @property
    def image_size(self) -> int:
        """Pixels a side of its frames."""
        return self.generator.config.image_size

    def warm_up(self) -> None:
        """Make what the first fast frame would have to wait for."""
        _ = self.fast_renderer

    @functools.cached_property
    def fast_renderer(self) -> FastRenderer:
        """What draws frames of quality ``fast``: made on first use, once for all people."""
        return FastRenderer(self.generator)

    @functools.cached_property
    def surfaces(self) -> Surfaces:
        """What all people's avatars have in common: made on first use."""
        return find_surfaces(self.generator)

    @classmethod
    def from_checkpoint(
        cls,
        path: str | Path,
        config: str | None = None,
        *,
        body_model: str | Path | Mapping[str, Any] | None = None,
        head_shoulder_index: Array | str | Path | None = None,
        device: str | torch.device = "cpu",
    ) -> "PortraitPipeline":
        """Load a checkpoint of our own format, or of the released layout; also an avatar's, which is one person.

        Args:
            path: the file.
            config: needed for the released layout only: a name in configs/ or a YAML file.
            body_model: released layout only: SMPL as a path or a dict of arrays; by default the buffers in the file.
            head_shoulder_index: released layout only: [V'] vertex indices or a .npy; by default chosen by rule.
            device: auto (CUDA where there is one), cpu, cuda or cuda:N.

        Raises:
            UserError: one line that says what is wrong with the file or the arguments.
        """
        device = resolve_device(str(device))  # before anything slow
        data = load_raw(path)
        if data.get("format") != FORMAT and released_state(data) is not None:
            model = cls._released(data, str(path), config, body_model, head_shoulder_index)
            return cls(model, device)
        check_format(data, path)
        if config is not None:
            raise UserError(f"--config {config}: {path} is not in the released layout; its config is inside")
        if body_model is not None or head_shoulder_index is not None:
            raise UserError(f"{path}: a body model can be given only for a file in the released layout")
        from inference.avatar import AvatarPipeline  # which builds on this module

        if data.get("convention") in CONVENTIONS:
            return AvatarPipeline(data, str(path), device)
        return pipeline_of(unpack_model(data, str(path), (*GENERATORS, TriGridPortrait)), device)

    @staticmethod
    def _released(data, where: str, config: str | None, body_model, head_shoulder_index) -> SavedModel:
        if config is None:
            raise UserError(f"{where}: a file in the released layout needs --config (for instance SSHQ512_inf)")
        body = None
        if body_model is not None:
            by_name = isinstance(body_model, Mapping)
            body = body_from_dict(body_model, "body_model") if by_name else load_smpl(body_model)
        return load_released(data, load_config(config), where, body=body, head_shoulder_index=head_shoulder_index)

    def people(self, seeds: tuple[int, ...], *, by_default: bool) -> tuple[int, ...]:
        """The seeds that are meant: those, but ``by_default`` the one that a model :attr:`one_person` has.

        Raises:
            UserError: it has not those.
        """
        if not self.one_person:
            return seeds
        for seed in () if by_default else seeds:
            self.check_only(seed)
        return (0,)

    def check_only(self, seed: int | None, **latents: Any) -> None:
        """UserError unless a model :attr:`one_person` is asked for that one."""
        given = [name for name, value in latents.items() if value is not None]
        if seed not in (None, 0) or given:
            found = given[0] if given else f"seed {seed}"
            raise UserError(f"expected seed 0, for this is {self.only_one}, found {found}")

    def _the_one(self, parts: Mapping[str, Tensor]) -> Person:
        latents, style = person_of(parts)
        return Person(self, latents, 1.0, style)

    def sample_latents(self, seed: int) -> Latents:
        """z_id [80], z_noise [80], betas [10] of a seed, on the CPU, the same on every device.

        Without priors (a released file alone) identities are N(0, 1), as 3DMM coefficients are, and betas 0.

        Raises:
            ValueError: no 64-bit integer.
        """
        random = torch.Generator().manual_seed(check_seed(seed))
        if self.priors is not None:
            return Latents(*(part[0] for part in self.priors.sample_latents(1, random)))
        z_id, z_noise = torch.randn(2, 80, generator=random)
        return Latents(z_id, z_noise, torch.zeros(10))

    def blend(self, a: Latents, b: Latents, t: float) -> Latents:
        """Between two people: identity and body shape linearly; the noise on the sphere, because the middle of a
        straight line between two draws of a high-dimensional normal is shorter than any draw."""
        return Latents(
            z_id=torch.lerp(a.z_id, b.z_id, t),
            z_noise=slerp(a.z_noise, b.z_noise, t),
            betas=torch.lerp(a.betas, b.betas, t),
        )

    def person(
        self,
        seed: int | None = None,
        *,
        z_id: Array | None = None,
        z_noise: Array | None = None,
        betas: Array | None = None,
        psi: float = 1.0,
    ) -> Person:
        """Build a person: the latents of ``seed``, each replaced by the one given; unseeded ones are zero.

        Args:
            seed: any 64-bit integer.
            z_id: [80] 3DMM identity. z_noise: [80] eps. betas: [10] SMPL shape.
            psi: truncation; 1 draws from the whole distribution, 0 is the mean person.

        Raises:
            ValueError: another seed, a wrong shape, NaN or infinity.
            UserError: anybody but seed 0, of a model :attr:`one_person`; ``psi`` does not change them.
        """
        if self._only is not None:
            self.check_only(seed, z_id=z_id, z_noise=z_noise, betas=betas)
            return self._the_one(self._only)
        if not math.isfinite(psi):
            raise ValueError(f"psi: expected a finite number, found {psi}")
        drawn = self.sample_latents(seed) if seed is not None else (None, None, None)
        parts = [
            checked_vector(g if g is not None else d, (size,), name, self.device)[None]
            for g, d, size, name in zip((z_id, z_noise, betas), drawn, (80, 80, 10), Latents._fields, strict=True)
        ]
        return Person(self, Latents(*parts), psi)


def pipeline_of(model: SavedModel, device: str | torch.device = "cpu") -> PortraitPipeline:
    """The pipeline of a model, whatever its representation."""
    if isinstance(model.generator, TriGridPortrait):
        from inference.trigrid import TriGridPipeline  # which builds on this module

        return TriGridPipeline(model, device)
    return PortraitPipeline(model, device)


def slerp(a: torch.Tensor, b: torch.Tensor, t: float) -> torch.Tensor:
    """Between vectors [C]: the direction along the great circle, the length linearly."""
    cosine = torch.dot(a / a.norm(), b / b.norm()).clamp(-1, 1)
    angle = torch.arccos(cosine)
    if angle.sin() < 1e-4:  # (anti)parallel: no great circle to speak of
        return torch.lerp(a, b, t)
    direction = (a / a.norm()) * ((1 - t) * angle).sin() + (b / b.norm()) * (t * angle).sin()
    return direction / angle.sin() * torch.lerp(a.norm(), b.norm(), t)


def check_seed(seed: Any) -> int:
    """``seed`` as a plain integer, whatever type it has; ValueError unless it fits in 64 bits, signed or not."""
    try:
        number = operator.index(seed)
    except TypeError:
        raise ValueError(f"seed: expected an integer, found {type(seed).__name__} {seed!r}") from None
    if not -(1 << 63) <= number < 1 << 64:
        raise ValueError(f"seed: expected a 64-bit integer, found one of {number.bit_length()} bits")
    return number


class Asked(NamedTuple):
    """What a frame is asked for."""

    expression: Tensor  # [64]
    joint_eulers: Tensor  # [6, 3] radians
    camera: Tensor  # [2] (pitch, yaw), radians


def checked_controls(
    expression: Array | None, joint_eulers: Array | None, camera: Array, quality: str, device: torch.device
) -> Asked:
    """Arguments of a person's ``render`` on ``device``. Raises ValueError: see ``Person.render``."""
    if quality not in QUALITIES:
        raise ValueError(f"quality: expected one of {', '.join(QUALITIES)}, found {quality!r}")
    return Asked(
        checked_vector(expression, (64,), "expression", device),
        checked_vector(joint_eulers, (6, 3), "joint_eulers", device, within=(-MAX_EULER, MAX_EULER)),
        checked_vector(camera, (2,), "camera", device, within=CAMERA_RANGE),
    )


def checked_vector(
    value: Array | None,
    shape: tuple[int, ...],
    name: str,
    device: torch.device,
    within: tuple[Any, Any] | None = None,
) -> Tensor:
    """``value`` (zeros for None) as a finite float tensor of ``shape`` on ``device``; angles ``within`` two bounds."""
    if value is None:
        return torch.zeros(shape, device=device)
    tensor = torch.as_tensor(value, dtype=torch.float32)
    if tensor.shape != shape:
        raise ValueError(f"{name}: expected shape {list(shape)}, found {list(tensor.shape)}")
    if not tensor.isfinite().all():  # checked where it is: asking a GPU would wait for it
        raise ValueError(f"{name}: expected finite numbers, found NaN or infinity")
    if within is not None:
        low, high = (torch.tensor(bound, device=tensor.device).expand(shape) for bound in within)
        if (beyond := (tensor < low) | (tensor > high)).any():
            values = f"{low[beyond][0]:.4g} to {high[beyond][0]:.4g} radians, found {tensor[beyond][0]:g}"
            raise ValueError(f"{name}: expected {values} (degrees?)")
    return tensor.to(device, non_blocking=True)
