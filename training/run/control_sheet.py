"""The control sheet of a model that a run saved: people under one control at a time (paper fig. 3)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from networks.compositing import Frame
from networks.manifold.generator import Generator
from networks.person.controls import EVERYTHING, draw_sheet, sheet_columns
from networks.person.expressions import face_model_of
from networks.saved_model import REPRESENTATIONS, SavedModel, unpack_model
from networks.trigrid.portrait import TriGridPortrait
from torch_utils.checkpoint import load_checkpoint
from torch_utils.misc import UserError

PSI = 0.7


@torch.no_grad()
def control_sheet(path: Path, people: int, device: torch.device, size: int) -> Image.Image:
    """Rows are the people of ``gen_video.py --seeds 0,1,...``; see ``python -m inference.sheet`` for more of them.

    Args:
        path: a saved model, with priors.
        people: rows.
        device: to render on.
        size: pixels a side of a picture on the sheet.

    Raises:
        UserError: the model cannot be read, or has no priors to draw people from.
    """
    model = unpack_model(load_checkpoint(path), str(path), REPRESENTATIONS)
    if model.priors is None:
        raise UserError(f"{path}: expected a model with priors to draw people from, found none")
    model.generator.to(device).eval()
    of_trigrid = isinstance(model.generator, TriGridPortrait)
    can = model.generator.controls if of_trigrid else EVERYTHING
    controls = sheet_columns(face_model_of(model.metadata), can)
    rows = []
    for seed in range(people):
        draw = _trigrid_person(model, seed, device) if of_trigrid else _manifold_person(model, seed, device)
        portraits = []
        for control in controls:
            asked = (part[None].to(device) for part in (control.expression, control.joint_eulers, control.camera))
            portraits.append(draw(*asked).image[0].cpu())
        rows.append(portraits)
    return draw_sheet(controls, rows, [str(seed) for seed in range(people)], size)


Draw = Callable[[Tensor, Tensor, Tensor], Frame]  # expression [1, 64], joint_eulers [1, 6, 3], camera [1, 2]


def _manifold_person(model: SavedModel, seed: int, device: torch.device) -> Draw:
    assert model.priors is not None
    generator: Generator = model.generator
    drawn = model.priors.sample_latents(1, torch.Generator().manual_seed(seed))
    z_id, z_noise, betas = (part.to(device) for part in drawn)
    maps = generator.build_manifolds(generator.style(z_id, z_noise, psi=PSI))
    return lambda expression, joint_eulers, camera: generator.render(
        maps, z_id, expression, betas, joint_eulers, camera
    )


def _trigrid_person(model: SavedModel, seed: int, device: torch.device) -> Draw:
    portrait: TriGridPortrait = model.generator
    z = torch.randn(portrait.config.latent_dim, generator=torch.Generator().manual_seed(seed))
    person = portrait.person(z[None].to(device), psi=PSI)
    return lambda _, joint_eulers, camera: portrait.render(person, joint_eulers, camera)
