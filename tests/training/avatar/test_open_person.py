"""The open body as a template: its vertices are those of the open face."""

import numpy as np
import pytest
import torch

from networks.person.body_assets import default_body, head_shoulder_vertices
from networks.person.body_model import BodyModel
from networks.person.expressions import expression
from networks.person.face_model import FaceModel, default_face
from networks.person.open_body.parts import LASH
from networks.person.open_body.storage import read_open_body
from tests.networks.helpers import make_body
from training.avatar.open_person import is_open, open_template


@pytest.fixture(scope="module")
def body() -> BodyModel:
    arrays = default_body()
    return BodyModel(arrays, torch.from_numpy(head_shoulder_vertices(arrays)))


def test_a_person_is_that_of_the_open_face(body):
    """Vertex by vertex, of any identity and expression; what lies below the neck stays; there are no lashes."""
    random = torch.Generator().manual_seed(0)
    z_id, z_exp = torch.randn(1, 80, generator=random), torch.rand(1, 64, generator=random)
    template = open_template(body, torch.zeros(1, 10), z_id)
    asset, face = read_open_body(), FaceModel(default_face())
    kept, part = asset.body_vertices, asset.part[asset.body_vertices]
    rows = torch.from_numpy(np.searchsorted(kept, asset.face_vertices))
    assert torch.allclose(template.vertices[rows], face(z_id, 0 * z_exp)[0], atol=1e-5)
    found = template.vertices + template.expression_basis @ z_exp[0]
    assert torch.allclose(found[rows], face(z_id, z_exp)[0], atol=1e-5)
    assert (template.expression_basis[template.vertices[:, 1] < -0.2] == 0).all()
    assert set(part[template.faces.flatten()]) == set(range(7)) - {LASH, 5}  # nor the guide for hair
    assert template.drawn is not None
    opened = template.vertices + template.expression_basis @ torch.from_numpy(expression(jawOpen=0.5)).float()
    assert torch.allclose(template.drawn, opened, atol=1e-6)


def test_other_bodies_are_told(body):
    other = make_body()
    assert is_open(body) and not is_open(BodyModel(other, torch.arange(len(other.v_template))))
