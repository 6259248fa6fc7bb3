"""A Gaussian avatar as a person like any other: the same pipeline and frames, of one actor (docs/avatars.md)."""

from collections.abc import Mapping
from typing import Any, ClassVar, NoReturn

import torch

from inference.arguments import FRONTAL_CAMERA, Array, Quality, checked_controls
from inference.pipeline import PortraitPipeline
from networks.cameras import PORTRAIT_CAMERA, pinhole
from networks.compositing import Frame
from networks.gaussian.avatar import View
from networks.gaussian.portraits import Avatar, read_avatar, seen
from networks.person.priors import Latents
from torch_utils.misc import UserError, resolve_device

DEFAULT_SIZE = 512  # pixels a side of frames, where the avatar does not say what it was trained at


class AvatarPerson:
    """The one actor; made by :meth:`AvatarPipeline.person`."""

    def __init__(self, avatar: Avatar, size: int):
        self.avatar, self.size = avatar, size

    @torch.inference_mode()
    def render(
        self,
        expression: Array | None = None,
        joint_eulers: Array | None = None,
        camera: Array = FRONTAL_CAMERA,
        quality: Quality = "exact",
    ) -> Frame:
        """One frame; arguments and errors as of ``inference.pipeline.Person.render``. All qualities are the same."""
        device = self.avatar.joints.device
        z_exp, eulers, towards = checked_controls(expression, joint_eulers, camera, quality, device)
        view = View(*pinhole(towards, PORTRAIT_CAMERA, self.size), (self.size, self.size))
        image, alpha, depth = seen(self.avatar, self.avatar.pose(z_exp, eulers), view)
        image_lr = torch.nn.functional.interpolate(image[None], scale_factor=0.25, mode="area")[0]
        return Frame(image, image_lr, depth, alpha)


class AvatarPipeline(PortraitPipeline):
    """What ``PortraitPipeline.from_checkpoint`` gives for an avatar's file: one person, whatever psi.

    Raises:
        UserError: the file holds no avatar, or one of a whole body, which portraits' controls do not move.
    """

    only_one: ClassVar[str] = "the avatar of one actor"

    def __init__(self, data: Mapping[str, Any], where: str, device: str | torch.device = "cpu"):
        avatar, self.metadata = read_avatar(data, where)
        joints = len(avatar.joints)
        if (joints, avatar.expressions) != (24, 64):
            found = f"one of {joints} joints and {avatar.expressions} expressions"
            raise UserError(
                f"{where}: expected an avatar of head and shoulders (24 joints, 64 expressions), found {found}"
            )
        self.device, self.priors, self._only = resolve_device(str(device)), None, {}
        self._where = where
        self.avatar = avatar.to(self.device).requires_grad_(False)

    def warm_up(self) -> None:
        """Nothing: all frames are alike."""

    def _refuse(self) -> NoReturn:
        raise UserError(f"{self._where}: expected a generator of people, found the avatar of one actor")

    @property
    def generator(self) -> NoReturn:  # type: ignore[override]
        self._refuse()

    @property
    def image_size(self) -> int:
        return int(self.metadata.get("image_size", DEFAULT_SIZE))

    @property
    def fast_renderer(self) -> NoReturn:  # type: ignore[override]
        self._refuse()

    def sample_latents(self, seed: int) -> Latents:
        """Raises UserError: an actor has none."""
        self._refuse()

    def person(self, seed: int | None = None, **latents: Any) -> AvatarPerson:  # type: ignore[override]
        """The actor, who is seed 0 of its file.

        Raises:
            UserError: another seed, or latents.
        """
        self.check_only(seed, **{name: value for name, value in latents.items() if name != "psi"})
        return AvatarPerson(self.avatar, self.image_size)
