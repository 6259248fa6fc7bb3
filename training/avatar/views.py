"""What gives an avatar's training its pictures."""

from typing import Any, NamedTuple, Protocol

from torch import Tensor

from networks.gaussian.avatar import Pose, View
from networks.gaussian.maps import Template, Window


class Shot(NamedTuple):
    """The actor in one pose, by one camera."""

    colour: Tensor  # [H, W, 3] in 0..1, multiplied by alpha
    alpha: Tensor  # [H, W] in 0..1
    pose: Pose
    view: View
    counts: Tensor | None = None  # [H, W] bool, pixels to learn from; None: all

    def over(self, background: Tensor | float) -> Tensor:
        """[H, W, 3] on a colour [3]."""
        return self.colour + (1 - self.alpha)[..., None] * background


class Actor(NamedTuple):
    """Whose avatar it is."""

    template: Template
    window: Window
    joints: Tensor  # [J, 3] in the canonical pose
    parents: Tensor  # [J]
    metres: float = 1.0  # of the template's unit


class Views(Protocol):
    """Pictures to learn from and, others, to be measured by; the same index gives the same one, every time.

    Attributes:
        summary: in a line; a run that goes on must find the same.
        frames: pictures to learn from.
        metadata: for the saved avatar.
    """

    summary: str
    frames: int
    metadata: dict[str, Any]

    def actor(self, map_size: int) -> Actor:
        """The template, and what the maps span."""
        ...

    def shot(self, index: int) -> Shot:
        """Of 0 .. ``frames`` - 1."""
        ...

    def look(self, index: int) -> tuple[Pose, View]:
        """Pose and camera of a picture to learn from, without the picture; beyond ``frames`` others of the kind."""
        ...

    def held_out(self, index: int) -> Shot:
        """One that is none of those, 0 and up; after the last one the first one comes again."""
        ...

    def poses(self, count: int) -> list[Pose]:
        """At most so many of those to learn from, spread over all."""
        ...
