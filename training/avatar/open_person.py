"""A person of the open body as a template: skin, eyes, teeth, tongue and shirt, each moved as its own vertices are."""

import numpy as np
import torch
from torch import Tensor

from networks.gaussian.maps import Template
from networks.person.body_model import BodyModel
from networks.person.expressions import expression
from networks.person.open_body.parts import LASH
from networks.person.open_body.storage import read_open_body

DRAWN_FACE = {"jawOpen": 0.5}  # the expression that maps are drawn in: mouth and eyes open
SAME = 1e-3  # metres that a body's vertices may be off the open one's


def is_open(body: BodyModel) -> bool:
    """Whether a body is the open one, whose head follows the open face vertex by vertex."""
    asset = read_open_body()
    template = torch.from_numpy(asset.v_template[asset.body_vertices]).to(body.v_template)
    return template.shape == body.v_template.shape and bool((template - body.v_template).abs().max() < SAME)


@torch.no_grad()
def open_template(body: BodyModel, betas: Tensor, z_id: Tensor, most: Tensor | None = None) -> Template:
    """Of the person betas [1, 10] and z_id [1, 80] of the open body; ``most`` [64] as :class:`Template` has it.

    Lashes are left out: strips before the eyes, which would have the eyes' pixels.
    """
    asset = read_open_body()
    kept = asset.body_vertices
    place = np.full(len(asset.part), -1)
    place[kept] = np.arange(len(kept))
    head = place[asset.head_vertices]
    rows = torch.from_numpy(head[head >= 0])
    identity, moves = (torch.from_numpy(basis[head >= 0]).to(betas) for basis in (asset.id_basis, asset.exp_basis))
    rows, faces = rows.to(betas.device), body.faces
    vertices = body.canonical_vertices(betas)[0]
    vertices[rows] += identity @ z_id[0]
    basis = vertices.new_zeros(len(vertices), 3, moves.shape[2])
    basis[rows] = moves
    lash = torch.from_numpy(asset.part[kept] == LASH).to(faces.device)
    drawn = vertices + basis @ torch.from_numpy(expression(**DRAWN_FACE)).to(basis)
    return Template(vertices, faces[~lash[faces].any(1)], body.lbs_weights, basis, drawn, most)
