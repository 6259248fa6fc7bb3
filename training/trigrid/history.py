"""Generated people of earlier steps, which E_D looks at again: rendering is dear, looking is cheap.

Shrivastava et al. 2017 keep such a history for their discriminator; here it only teaches poses.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from networks.trigrid.discriminator import Observed

STEPS = 64  # whose people are kept


class Remembered(NamedTuple):
    """Generated people with what E_D is to say of them."""

    image: Tensor  # [B, 3, H, H]
    raw: Tensor  # [B, 3, R, R]
    mask: Tensor  # [B, 1, R, R]
    camera: Tensor  # [B, 25]
    pose: Tensor  # [B, 6]

    def part(self, rows: slice) -> Remembered:
        """Some of the rows."""
        return Remembered(*(value[rows] for value in self))

    @property
    def seen(self) -> Observed:
        """What D sees of them."""
        return Observed(self.image, self.raw, self.mask)


class FakeHistory:
    """The people of the last :data:`STEPS` steps, a ring: new ones take the places of the oldest. Pictures are kept in
    half precision."""

    def __init__(self) -> None:
        self.rows: Remembered | None = None
        self.added = 0  # so far

    def __len__(self) -> int:
        return 0 if self.rows is None else min(self.added, len(self.rows.pose))

    def add(self, people: Remembered) -> None:
        """Keep the people [B] of a step. Where pictures have got another size, the earlier ones are dropped."""
        batch = len(people.pose)
        people = Remembered(people.image.half(), people.raw.half(), people.mask.half(), people.camera, people.pose)
        if self.rows is None or any(a.shape[1:] != b.shape[1:] for a, b in zip(self.rows, people, strict=True)):
            self.rows = Remembered(*(part.new_zeros(STEPS * batch, *part.shape[1:]) for part in people))
            self.added = 0
        places = torch.arange(self.added, self.added + batch, device=people.pose.device) % len(self.rows.pose)
        for kept, part in zip(self.rows, people, strict=True):
            kept[places] = part
        self.added += batch

    def draw(self, count: int) -> Remembered:
        """``count`` of them, by torch's own generator. Raises ValueError: there is nobody yet."""
        if self.rows is None:
            raise ValueError("expected somebody to remember, found nobody")
        places = torch.randint(len(self), (count,), device=self.rows.pose.device)
        return Remembered(*(part[places].float() for part in self.rows))

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain data."""
        return {"added": self.added, "rows": [] if self.rows is None else list(self.rows)}

    def load_state_dict(self, data: dict[str, Any], device: torch.device) -> None:
        """Takes over what :meth:`state_dict` gave."""
        self.added = int(data["added"])
        self.rows = Remembered(*(part.to(device) for part in data["rows"])) if data["rows"] else None
