"""The control sheet of a model that a run saved: people under one control at a time (paper fig. 3)."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image

from networks.person.controls import draw_sheet, sheet_columns
from networks.person.expressions import face_model_of
from networks.saved_model import unpack_model
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
    model = unpack_model(load_checkpoint(path), str(path))
    if model.priors is None:
        raise UserError(f"{path}: expected a model with priors to draw people from, found none")
    generator = model.generator.to(device).eval()
    controls = sheet_columns(face_model_of(model.metadata))
    rows = []
    for seed in range(people):
        drawn = model.priors.sample_latents(1, torch.Generator().manual_seed(seed))
        z_id, z_noise, betas = (part.to(device) for part in drawn)
        maps = generator.build_manifolds(generator.style(z_id, z_noise, psi=PSI))
        portraits = []
        for control in controls:
            asked = (part[None].to(device) for part in (control.expression, control.joint_eulers, control.camera))
            expression, joint_eulers, camera = asked
            portraits.append(generator.render(maps, z_id, expression, betas, joint_eulers, camera).image[0].cpu())
        rows.append(portraits)
    return draw_sheet(controls, rows, [str(seed) for seed in range(people)], size)
