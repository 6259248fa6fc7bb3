"""Whether facial actions are shown as strongly as they are asked for."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from networks.person.expressions import columns_of, expression, has_actions
from training.metrics.scene import Scene
from training.sampling import Inputs

ACTIONS = {
    "jaw": ("jawOpen",),
    "smile": ("mouthSmile",),
    "blink": ("eyeBlink",),
    "brows": ("browInnerUp", "browOuterUp"),
    "pucker": ("mouthPucker",),
}
LEVELS = (0.5, 1.0)  # beside a neutral face


def action_response(scene: Scene) -> dict[str, float]:
    """How each of ACTIONS that is asked for alone is found again, over people x (none, half, all of it).

    ``A_r``: Pearson's correlation of the amounts found and asked. ``A_gain``: their slope; 1 is obedient, 0 is deaf.
    Where several coefficients make an action, the found amount is their mean. Nothing of models whose coefficients are
    no facial actions.
    """
    if not has_actions(scene.render.face_model):
        return {}
    found = scene.faces(one_at_a_time(scene.inputs)).z_exp.double().unflatten(0, (len(scene.inputs.z_id), -1))
    asked = torch.tensor([0.0, *LEVELS], dtype=torch.double).expand(len(found), -1)
    out: dict[str, float] = {}
    for i, (action, names) in enumerate(ACTIONS.items()):
        rows = [0, *range(1 + len(LEVELS) * i, 1 + len(LEVELS) * (i + 1))]
        columns = [column for name in names for column in columns_of(name)]
        amounts = found[:, rows][..., columns].mean(-1)  # [N, levels]
        out |= {f"{action}_r": _correlation(amounts, asked), f"{action}_gain": _slope(amounts, asked)}
    return out


def one_at_a_time(inputs: Inputs) -> Inputs:
    """Every person with a neutral face, then with every action alone at every level; all else as it is."""
    rows = [expression(), *(expression(**dict.fromkeys(names, a)) for names in ACTIONS.values() for a in LEVELS)]
    repeated = Inputs(*(value.repeat_interleave(len(rows), 0) for value in inputs))
    expressions = torch.from_numpy(np.stack(rows)).to(inputs.z_exp)
    return repeated._replace(z_exp=expressions.repeat(len(inputs.z_id), 1))


def _correlation(a: Tensor, b: Tensor) -> float:
    a, b = (part.flatten() - part.mean() for part in (a, b))
    return ((a * b).sum() / (a.norm() * b.norm()).clamp_min(1e-12)).item()


def _slope(found: Tensor, asked: Tensor) -> float:
    centred = asked - asked.mean()
    return ((found - found.mean()) * centred).sum().div(centred.square().sum()).item()
