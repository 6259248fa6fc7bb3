"""People of tri-grid models through the same pipeline and frames: portraits from all sides (docs/portrait360.md)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple, NoReturn

import torch
from torch import Tensor

from inference.arguments import FRONTAL_CAMERA, Array, Quality, check_seed, checked_controls, checked_vector
from inference.pipeline import PortraitPipeline, slerp
from networks.compositing import Frame
from networks.person.controls import Controls
from networks.saved_model import SavedModel
from networks.trigrid.portrait import TriGridPerson, TriGridPortrait
from torch_utils.misc import UserError


class TriGridLatents(NamedTuple):
    z: Tensor  # [latent_dim]


class Person:
    """One identity with its planes; made by :meth:`TriGridPipeline.person`."""

    def __init__(self, pipe: TriGridPipeline, built: TriGridPerson):
        self._pipe, self.built = pipe, built

    @torch.inference_mode()
    def render(
        self,
        expression: Array | None = None,
        joint_eulers: Array | None = None,
        camera: Array = FRONTAL_CAMERA,
        quality: Quality = "exact",
    ) -> Frame:
        """One frame; arguments and errors as of ``inference.pipeline.Person.render``. All qualities are the same.

        Raises:
            ValueError: an expression of a model that has none; other joints than neck and head stay where they
                are unless the model has shoulders (:attr:`TriGridPipeline.controls`).
        """
        z_exp, eulers, view = checked_controls(expression, joint_eulers, camera, quality, self._pipe.device)
        if z_exp.any() and not self._pipe.controls.expression:
            raise ValueError("expression: expected none, for this model has no expressions")
        frame = self._pipe.portraits.render(self.built, eulers[None], view[None], z_exp[None])
        return Frame(*(part[0] for part in frame))

    def avatar(self, *_: Any) -> NoReturn:
        """Raises UserError: there are no layers to make one of."""
        raise UserError("expected a person of manifolds, found one of a tri-grid, which has no layers")


class TriGridPipeline(PortraitPipeline):
    """What ``PortraitPipeline.from_checkpoint`` gives for a tri-grid model.

    Attributes:
        portraits: the networks, in eval mode.
    """

    def __init__(self, model: SavedModel, device: str | torch.device = "cpu"):
        super().__init__(model, device)
        self.portraits: TriGridPortrait = model.generator

    @property
    def controls(self) -> Controls:
        """Heads turn; shoulders move and faces have expressions where the model has learned it."""
        return self.portraits.controls

    def warm_up(self) -> None:
        """Nothing: all frames are alike."""

    @property
    def fast_renderer(self) -> NoReturn:  # type: ignore[override]
        raise UserError("expected a model of manifolds, found a tri-grid, which has one quality of frames")

    @property
    def surfaces(self) -> NoReturn:  # type: ignore[override]
        raise UserError("expected a model of manifolds, found a tri-grid, which has no layers")

    def sample_latents(self, seed: int) -> TriGridLatents:  # type: ignore[override]
        """z [latent_dim] of a seed, on the CPU, the same on every device. Raises ValueError: no 64-bit integer."""
        random = torch.Generator().manual_seed(check_seed(seed))
        return TriGridLatents(torch.randn(self.portraits.config.latent_dim, generator=random))

    def blend(self, a: TriGridLatents, b: TriGridLatents, t: float) -> TriGridLatents:  # type: ignore[override]
        """Between two people, on the sphere."""
        return TriGridLatents(slerp(a.z, b.z, t))

    def _the_one(self, parts: Mapping[str, Tensor]) -> Person:  # type: ignore[override]
        config = self.portraits.config
        expected = [1, self.portraits.trigrid.backbone.synthesis.num_ws, config.style_dim]
        if "ws" not in parts or list(parts["ws"].shape) != expected:
            found = list(parts["ws"].shape) if "ws" in parts else "none"
            raise UserError(f"expected a person of a tri-grid, ws {expected}, found {found}")
        return Person(self, self.portraits.person_of(parts["ws"]))

    @torch.inference_mode()
    def person(  # type: ignore[override]
        self, seed: int | None = None, *, z: Array | None = None, psi: float = 1.0, **others: Any
    ) -> Person:
        """Build a person of ``seed``, or of ``z`` [latent_dim].

        Args:
            psi: truncation; 1 draws from the whole distribution, 0 is the mean person.

        Raises:
            ValueError: neither of them, another seed, a wrong shape, NaN or infinity, latents of other models.
        """
        if self._only is not None:
            self.check_only(seed, z=z, **others)
            return self._the_one(self._only)
        if given := [name for name, value in others.items() if value is not None]:
            raise ValueError(f"{given[0]}: expected seed or z, for this model has no other latents")
        if not math.isfinite(psi):
            raise ValueError(f"psi: expected a finite number, found {psi}")
        if z is None:
            if seed is None:
                raise ValueError("expected seed or z, found neither")
            z = self.sample_latents(seed).z
        config = self.portraits.config
        return Person(
            self, self.portraits.person(checked_vector(z, (config.latent_dim,), "z", self.device)[None], psi=psi)
        )
