"""A mesh in place of the body's own surface, with hair and clothes: it moves as the nearest vertex of the body does."""

from pathlib import Path

import numpy as np
import torch
import trimesh
from scipy.spatial import cKDTree

from networks.gaussian.maps import Template
from torch_utils.misc import UserError, check_file, one_line
from training.avatar.views import Actor

MAX_BYTES = 2**31
INSET = 0.005  # metres that the body lies below a mesh that leaves it open


def with_mesh(actor: Actor, path: str | Path) -> Actor:
    """The actor with a mesh of theirs in the canonical pose, in metres, as ``inference.mesh`` writes it.

    Where the mesh is not closed, as that of a front, the body stays below it.

    Raises:
        UserError: no such file, or no triangles in it.
    """
    check_file(path, "template", most=MAX_BYTES)
    try:
        mesh = trimesh.load(path, process=False, force="mesh")
    except Exception as error:  # whatever a damaged file raises
        raise UserError(f"{path}: expected a mesh (.ply, .obj), found {one_line(str(error))[:80]}") from error
    if not isinstance(mesh, trimesh.Trimesh) or len(mesh.faces) == 0 or not np.isfinite(mesh.vertices).all():
        raise UserError(f"{path}: expected a mesh of triangles, found none")
    body = actor.template
    vertices = torch.from_numpy(np.array(mesh.vertices)).to(body.vertices) / actor.metres
    faces = torch.from_numpy(np.array(mesh.faces)).to(body.faces)
    nearest = torch.from_numpy(cKDTree(body.vertices.cpu().numpy()).query(vertices.cpu().numpy())[1]).to(faces)
    basis, weights = body.expression_basis[nearest], body.lbs_weights[nearest]
    drawn = None if body.drawn is None else vertices + (body.drawn - body.vertices)[nearest]
    template = Template(vertices, faces, weights, basis, drawn, body.most)
    return actor._replace(template=template if mesh.is_watertight else _over(template, body, INSET / actor.metres))


def _over(template: Template, body: Template, inset: float) -> Template:
    """Both, the body a little thinner."""
    inner = body._replace(vertices=body.vertices - inset * body.normals())
    drawn = None
    if template.drawn is not None and body.drawn is not None:
        drawn = torch.cat([template.drawn, body.drawn + inner.vertices - body.vertices])
    faces = torch.cat([template.faces, body.faces + len(template.vertices)])
    parts = ((template.vertices, inner.vertices), (template.lbs_weights, inner.lbs_weights),
             (template.expression_basis, inner.expression_basis))  # fmt: skip
    vertices, weights, basis = (torch.cat(pair) for pair in parts)
    return Template(vertices, faces, weights, basis, drawn, template.most)
