"""The pipeline a user calls: a checkpoint, a person, a frame.

pipe = PortraitPipeline.from_checkpoint("ckpts/demo.safetensors")
person = pipe.person(seed=3, psi=0.7)
frame = person.render(expression=[64], joint_eulers=[6, 3], camera=(pitch, yaw))   # frame.image [3, H, W]
"""

import functools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from inference.arguments import Array, check_seed, checked_vector
from inference.fast.renderer import FastRenderer
from inference.person import Person
from inference.portable.surfaces import Surfaces, find_surfaces
from inference.released_checkpoint import GENERATORS, load_config, load_released, released_state
from networks.gaussian.portraits import CONVENTIONS
from networks.manifold.generator import Generator
from networks.manifold.one_person import person_of
from networks.person.body_assets import body_from_dict, load_smpl
from networks.person.controls import EVERYTHING, Controls
from networks.person.expressions import face_model_of
from networks.person.priors import LabelPriors, Latents
from networks.saved_model import SavedModel, unpack_model
from networks.trigrid.portrait import TriGridPortrait
from torch_utils.checkpoint import FORMAT, check_format, load_raw
from torch_utils.misc import UserError, resolve_device

DEMO = Path(__file__).resolve().parents[1] / "ckpts" / "demo.safetensors"  # the shipped model


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
