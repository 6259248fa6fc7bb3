"""Where what an opened mouth shows lies in the canonical face."""

import numpy as np
import pytest
import torch

from networks.person.expressions import expression
from networks.person.face_model import default_face, default_face_openings
from networks.person.open_body.parts import TEETH, TONGUE
from training.data.synthetic.drawing import camera_view, project, rasterise
from training.data.synthetic.person import SyntheticPerson
from training.models import face_to_imitate
from training.opened_mouth import (
    BEFORE,
    BEHIND,
    CORNERS,
    FLATTENED,
    LIPS_MEET,
    LOWER_LIP,
    LOWER_TEETH,
    OVERBITE,
    UPPER_LIP,
    UPPER_TEETH,
    Opening,
    between_lips,
    edges,
    height_of,
    opening,
    share_of_opening,
)


def mouth(above: float, below: float) -> torch.Tensor:
    """Landmarks [1, 68, 3] of a mouth from x = -2 to 2 with level lips, corners as well."""
    landmarks = torch.zeros(1, 68, 3)
    for lip, y in ((UPPER_LIP, above), (LOWER_LIP, below)):
        for index, x in zip(lip, np.linspace(-2, 2, 5), strict=True):
            landmarks[0, index, :2] = torch.tensor([x, y if index not in CORNERS else 0.0])
    return landmarks


def test_every_part_of_a_mouth_has_its_share():
    """Lips at 0 and 10, teeth that end at 7 and begin at 2: middles of all three parts, and their borders."""
    y = torch.tensor([[0.0, 1.0, 2.0, 4.5, 7.0, 8.5, 10.0]])
    lips = Opening(y, torch.full_like(y, 10.0), torch.zeros_like(y))
    found = share_of_opening(y, lips, torch.tensor([[7.0]]), torch.tensor([[2.0]]))
    dark = 1 - UPPER_TEETH - LOWER_TEETH
    expected = [0, LOWER_TEETH / 2, LOWER_TEETH, LOWER_TEETH + dark / 2, 1 - UPPER_TEETH, 1 - UPPER_TEETH / 2, 1]
    assert found[0].tolist() == pytest.approx(expected)


def test_upper_teeth_hide_lower_ones():
    """Teeth that overlap from 4 to 6: there is nothing dark, and what is below 4 is the lower part of lower teeth."""
    y = torch.tensor([[3.0, 4.5]])
    lips = Opening(y, torch.full_like(y, 10.0), torch.zeros_like(y))
    found = share_of_opening(y, lips, torch.tensor([[4.0]]), torch.tensor([[6.0]]))
    assert found[0].tolist() == pytest.approx([LOWER_TEETH / 2, 1 - UPPER_TEETH * (1 - 0.5 / 6)])


def test_edges_are_followed_from_corner_to_corner():
    edge = torch.tensor([[[0.0, 0.0, 0.0], [1.0, 2.0, 0.0], [3.0, 0.0, 0.0]]])
    assert height_of(torch.tensor([[-1.0, 0.5, 2.0, 3.0, 9.0]]), edge)[0].tolist() == [0, 1, 1, 0, 0]
    found = opening(mouth(1.0, -1.0), torch.tensor([[0.5, 0.25]]))
    assert found.x[0].tolist() == [0, -1]
    assert found.above[0].tolist() == pytest.approx([1 - LIPS_MEET] * 2)
    assert found.below[0].tolist() == pytest.approx([LIPS_MEET - 1] * 2)


def test_points_go_between_the_canonical_lips():
    """Of a mouth that is open by 2 and canonically by 1: points lie in the one and go to the other; of one that is shut
    nothing is seen; and where the canonical mouth is shut, all follows the teeth."""
    back = mouth(0.5, -0.5) - mouth(1.0, -1.0)
    bites, bites_back = torch.zeros(1, 4, 3), torch.zeros(1, 4, 3)
    bites[:, 2:, 1], bites_back[:, 2:, 1] = -0.5, 0.3
    random = torch.Generator().manual_seed(0)
    points, way, seen = between_lips(mouth(1.0, -1.0), back, bites, bites_back, 200, random)
    middle = points[0, :, 0].abs() < 1
    assert seen[0, middle].all() and points[0, middle, 1].abs().max() < 1
    assert (points + way)[0, middle, 1].abs().max() < 0.5
    assert ((points + way)[0, middle, 1].abs() < 0.1).any() and way[..., 0].abs().max() < 1e-6
    deep = -points[0, :, 2]  # bites are at z = 0 and stay there
    assert way[0, deep <= 0, 2].abs().max() < 1e-6 and deep.min() < -0.9 * BEFORE and deep.max() > 0.9 * BEHIND
    assert torch.allclose((points + way)[0, deep > 0, 2], -FLATTENED * deep[deep > 0], atol=1e-6)
    assert not between_lips(mouth(LIPS_MEET, -LIPS_MEET), back, bites, bites_back, 9, random)[2].any()
    shut = between_lips(mouth(1.0, -1.0), mouth(0, 0) - mouth(1, -1), bites, bites_back, 50, random)[1]
    assert 0 <= shut[..., 1].min() < 0.01 and 0.25 < shut[..., 1].max() <= 0.3 + 1e-6


def test_teeth_have_edges():
    """Five front teeth a row: level within 2 mm; upper ones, drawn lower by their overbite, hide lower ones."""
    places = torch.from_numpy(default_face().mean)[torch.as_tensor(default_face_openings().bites)]
    upper, lower = places.chunk(2)
    for row in (upper, lower):
        assert row[:, 1].max() - row[:, 1].min() < 0.002 and row[:, 0].abs().max() < 0.02
        assert row[:, 0].sum().abs() < 1e-4  # as many on either side
    assert 0.003 < lower[:, 1].mean() - upper[:, 1].mean() - OVERBITE[1] < 0.005


def test_drawn_mouths_are_led_to_their_parts():
    """Of a drawn mean person whose jaw is open: pixels that show upper teeth, tongue and lower teeth."""
    z_exp, size = expression(jawOpen=0.7), 256
    posed = SyntheticPerson(np.zeros(80), np.zeros(80), np.zeros(10)).posed(z_exp, np.zeros((6, 3)))
    skin, face = posed.surfaces[0], face_to_imitate(is_open=True)
    pixels, ahead = project(skin.vertices, camera_view((np.pi / 2, np.pi / 2), "face"), size)
    _, hit, shares, _ = rasterise(pixels, ahead, skin.faces, size)
    place = (skin.vertices[skin.faces[hit]] * shares[..., None]).sum(1)
    latents = torch.zeros(1, 80), torch.tensor(z_exp, dtype=torch.float32)[None]
    landmarks, teeth = face.landmarks.posed(*latents)[0], edges(face.bites.posed(*latents)[0])
    near = np.abs(place[:, 0]) < 0.01  # 12 mm beside the middle
    place, material = torch.as_tensor(place[near], dtype=torch.float32), skin.materials[hit][near]
    x, y, z = place.T
    along = (x - landmarks[0, CORNERS[0], 0]) / (landmarks[0, CORNERS[1], 0] - landmarks[0, CORNERS[0], 0])
    lips = opening(landmarks, along[None])
    share = share_of_opening(y[None], lips, teeth.upper[..., 1] + float(OVERBITE[1]), teeth.lower[..., 1])[0]
    shown = (y < lips.above[0]) & (y > lips.below[0])
    upper, lower = ((material == TEETH) & shown.numpy() & (side * (z.numpy() + 0.012) > 0) for side in (1, -1))
    for part, least, most in (
        (upper, 1 - UPPER_TEETH, 1),
        (material == TONGUE, LOWER_TEETH, 1 - UPPER_TEETH),
        (lower, 0, LOWER_TEETH),
    ):
        inside = (share[part] > least - 0.02) & (share[part] < most + 0.02)  # edges of teeth are not quite level
        assert part.sum() > 20 and inside.float().mean() > 0.9
