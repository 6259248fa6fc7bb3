"""A picture of where training stands: some people from all sides, and turning their heads."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor

from networks.cameras import FRONTAL
from networks.person.controls import single_controls
from networks.trigrid.generator import Pictures
from networks.trigrid.portrait import TriGridPortrait
from torch_utils.misc import atomic_path
from torch_utils.picture_grid import labelled_grid
from training.sampling import random_generator

SNAPSHOT_KEY = 0x5EED  # of the snapshot's draws
SIDES = {"front": 0.0, "left side": -math.pi / 2, "behind": math.pi, "right side": math.pi / 2}  # yaw from the front
HEADS = ("left", "right", "down")
SMALLEST = 96  # pixels a side of a picture, at least


def views() -> list[tuple[str, str, Tensor, Tensor]]:
    """Columns: group, heading, camera [2], joint_eulers [6, 3]."""
    still, front = torch.zeros(6, 3), torch.full((2,), FRONTAL)
    sides = [("camera", name, front + torch.tensor([0.0, yaw]), still) for name, yaw in SIDES.items()]
    heads = {control.heading: control.joint_eulers for control in single_controls() if control.group == "head"}
    return sides + [("head", name, front, heads[name]) for name in HEADS]


@torch.no_grad()
def save_snapshot(path: Path, portrait: TriGridPortrait, people: int, seed: int) -> None:
    """Write the grid of :func:`views`, a row a person; the last column is the front's mask."""
    device, config = portrait.body.v_template.device, portrait.config
    z = torch.randn(people, config.latent_dim, generator=random_generator(seed, SNAPSHOT_KEY)).to(device)
    rows = []
    for k in range(people):
        person = portrait.person(z[k : k + 1])
        frames = [
            portrait.render(person, eulers[None].to(device), view[None].to(device)) for *_, view, eulers in views()
        ]
        mask = 2 * frames[0].alpha.expand(3, -1, -1) - 1
        rows.append([*(frame.image[0].float().cpu() for frame in frames), mask.float().cpu()])
    columns = [(group, heading) for group, heading, *_ in views()] + [("mask", "front")]
    sheet = labelled_grid(rows, columns, [str(k) for k in range(people)], max(SMALLEST, config.image_size))
    with atomic_path(path) as temporary:
        sheet.save(temporary, "png")


def portraits(pictures: Pictures) -> Tensor:
    """[B, 3, H, H] in -1..1, on the CPU."""
    return pictures.image.float().clamp(-1, 1).cpu()
