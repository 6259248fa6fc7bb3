"""A picture of where training stands: some people from all sides, and turning their heads."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor

from networks.person.controls import Control, Controls, single_controls
from networks.trigrid.generator import Pictures
from networks.trigrid.portrait import TriGridPortrait
from torch_utils.misc import atomic_path
from torch_utils.picture_grid import labelled_grid
from training.sampling import random_generator

SNAPSHOT_KEY = 0x5EED  # of the snapshot's draws
SIDES = {"front": 0.0, "left side": -math.pi / 2, "behind": math.pi, "right side": math.pi / 2}  # yaw from the front
HEADS = (("head", "left"), ("head", "right"), ("head", "down"))
FACES = (("expression", "smile"), ("expression", "mouth open"))
SMALLEST = 96  # pixels a side of a picture, at least


def views(can: Controls) -> list[Control]:
    """Columns, as far as people ``can``."""
    still, *controls = single_controls()
    sides = [
        still._replace(group="camera", heading=name, camera=still.camera + torch.tensor([0.0, yaw]))
        for name, yaw in SIDES.items()
    ]
    shown = [*HEADS, *(FACES if can.expression else ())]
    return sides + [control for control in controls if (control.group, control.heading) in shown]


@torch.no_grad()
def save_snapshot(path: Path, portrait: TriGridPortrait, people: int, seed: int) -> None:
    """Write the grid of :func:`views`, a row a person; the last column is the front's mask."""
    device, config = portrait.body.v_template.device, portrait.config
    z = torch.randn(people, config.latent_dim, generator=random_generator(seed, SNAPSHOT_KEY)).to(device)
    rows, columns = [], views(portrait.controls)
    for k in range(people):
        person = portrait.person(z[k : k + 1])
        frames = [
            portrait.render(
                person,
                asked.joint_eulers[None].to(device),
                asked.camera[None].to(device),
                asked.expression[None].to(device),
            )  # fmt: skip
            for asked in columns
        ]
        mask = 2 * frames[0].alpha.expand(3, -1, -1) - 1
        rows.append([*(frame.image[0].float().cpu() for frame in frames), mask.float().cpu()])
    headings = [(asked.group, asked.heading) for asked in columns] + [("mask", "front")]
    sheet = labelled_grid(rows, headings, [str(k) for k in range(people)], max(SMALLEST, config.image_size))
    with atomic_path(path) as temporary:
        sheet.save(temporary, "png")


def portraits(pictures: Pictures) -> Tensor:
    """[B, 3, H, H] in -1..1, on the CPU."""
    return pictures.image.float().clamp(-1, 1).cpu()
