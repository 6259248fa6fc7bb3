"""D^e before training: points that need no search, and a fit that follows the face."""

import numpy as np
import pytest
import torch

from networks.person.expressions import expression
from networks.person.face_model import FaceModel, default_face
from tests.training.tiny_run import ALONE, make_config, make_dataset, make_sampler, run
from torch_utils.misc import UserError
from training import manifold_recipe
from training.data.synthetic import sample_expression
from training.expression_warmup import (
    FAR_SHARE,
    OPENING_SHARE,
    OPENINGS,
    POINTS,
    WITHIN,
    face_points,
    hidden_by,
    inner_lips,
    raised,
    seen_between,
    warm_up_expression,
    within_openings,
)
from training.losses.imitation import subdivided
from training.manifold_recipe import begin
from training.models import build_networks


def test_points_beside_the_face_have_the_displacement_of_the_nearest_vertex_and_far_ones_none():
    imitation = build_networks(make_config()).imitation
    inputs = make_sampler(4, 8).draw(3, 0)
    points, expected = face_points(imitation, inputs.z_id, inputs.z_exp, torch.Generator().manual_seed(0))
    assert points.shape == expected.shape == (3, POINTS, 3)
    reference = imitation(points, inputs.z_id, inputs.z_exp)
    far = POINTS // FAR_SHARE
    assert not reference.mask[:, -far:].any() and not expected[:, -far:].any()
    # Beside the face the vertex that a point was made from may not be the nearest: neighbours move alike.
    assert reference.mask[:, :-far].float().mean() > 0.85  # along the view they reach farther from it
    error = (expected - reference.displacement).norm(dim=-1)
    openings = 2 * (POINTS // OPENING_SHARE)  # where one of two that overlap may be nearer, the other in front
    for part, most in ((slice(openings, -far), 2e-4), (slice(openings), 1e-3)):  # 0.25 and 1.2 mm
        assert error[:, part][reference.mask[:, part]].median() < most < reference.displacement.norm(dim=-1).max()


def test_what_openings_show():
    """Of the mean face: eyes ahead are seen between open lids, not between closed ones, and teeth in an open mouth."""
    imitation = build_networks(make_config()).imitation
    between_the_eyes = torch.zeros(1, 1, 3)
    for names, seen in (({}, True), ({"eyeBlink": 1.0}, False)):
        z_exp = torch.tensor(expression(jawOpen=0.5, **names), dtype=torch.float32)[None]
        landmarks = imitation.landmarks.posed(torch.zeros(1, 80), z_exp)[0]
        eyes = torch.stack([landmarks[:, start : start + 6].mean(1) for start in (36, 42)], 1)
        assert within_openings(eyes, landmarks).tolist() == [[seen] * 2]
        mouth = landmarks[:, 60:].mean(1, keepdim=True)
        assert within_openings(torch.cat([mouth, between_the_eyes], 1), landmarks).tolist() == [[True, False]]


def test_what_is_seen_between_lips_stays_between_them():
    """Of a mouth 2 units wide that is open by 0.2 in the middle: what lies behind its upper lip comes down to that
    lip's edge, what lies behind the lower one up; what is between them, and cheeks, stay where they are."""
    landmarks = torch.zeros(68, 3)
    landmarks[36:48, 0] = 9.0  # eyes are elsewhere
    for row, index in enumerate((60, 61, 62, 63, 64)):
        landmarks[index, 0] = row / 2 - 1
    landmarks[[67, 66, 65]] = landmarks[[61, 62, 63]]
    landmarks[[61, 62, 63], 1] += 0.1
    landmarks[[67, 66, 65], 1] -= 0.1
    places = torch.tensor([[[0.0, 0.15, -1.0], [0.0, -0.12, -1.0], [0.0, 0.05, -1.0], [2.0, 0.15, -1.0]]])
    found = seen_between(places, landmarks[None])
    assert torch.equal(found[..., [0, 2]], places[..., [0, 2]])
    edge = 0.1 - OPENINGS[-1][-1] - WITHIN
    assert found[0, :, 1].tolist() == pytest.approx([edge, -edge, 0.05, 0.15])


def test_lips_go_on_inwards_up_to_where_they_meet():
    """Of two straight lips, of which the upper one goes back up by 1 and the lower one down: every point lies between
    its lip's edge and where they meet, a millimetre inwards or in the middle, and goes its lip's way."""
    landmarks, back = torch.zeros(2, 68, 3), torch.zeros(2, 68, 3)
    met = OPENINGS[-1][-1]
    for lip, sign in ((OPENINGS[-1][0], 1), (OPENINGS[-1][1], -1)):
        landmarks[:, list(lip), 0] = torch.linspace(-2, 2, 5)  # the corners, farthest out, are both lips'
        landmarks[:, list(lip), 1] = sign * torch.tensor([[met / 2], [5 * met]])  # half open by met, and by 5 of it
        back[:, list(lip), 1] = float(sign)
    points, way = inner_lips(landmarks, back, 256, torch.Generator().manual_seed(0))
    inwards = torch.tensor([[met / 2], [5 * met]]) - points[..., 1] * way[..., 1]
    middle = points[..., 0].abs() < 1
    assert (way[middle][:, 1].abs() - 1).abs().max() < 1e-6
    assert set(way[middle][:, 1].sign().tolist()) == {-1.0, 1.0}
    for person, most in ((0, met / 2), (1, met)):
        found = inwards[person, middle[person]]
        assert -1e-8 < found.min() < 0.1 * most and 0.9 * most < found.max() < most + 1e-8


def test_the_lid_that_has_closed_lies_on_top():
    """Of the mean face: what closed lids hide of one another has moved less than what is seen."""
    imitation = build_networks(make_config()).imitation
    z_exp = torch.tensor(np.stack([expression(), expression(eyeBlink=1.0)]), dtype=torch.float32)
    rims = raised(*imitation.rims.posed(torch.zeros(2, 80), z_exp))
    points, back = imitation.patches.posed(torch.zeros(2, 80), z_exp)
    hidden, way = hidden_by(rims, raised(points, back)), back.norm(dim=-1)
    assert hidden[1].sum() > hidden[0].sum()
    assert way[1, hidden[1] & ~hidden[0]].mean() < way[1, ~hidden[1]].max() / 2


def test_points_in_triangles():
    """Three to a triangle: their shares of its corners sum to 1, and the middle one of each corner is nearest to it."""
    face = FaceModel(default_face())
    corners = face.faces[:1].numpy()
    fine = subdivided(face, corners[0], corners[0], parts=2)
    triangle = face.mean[face.faces[0]]
    expected = (triangle + triangle.mean(0)) / 2  # by hand: (1/6, 1/6, 2/3) and its turns
    assert torch.cdist(fine.mean, expected).amin(0).max() < 1e-6 and fine.exp_basis.shape == (3, 3, 64)


def test_d_e_follows_the_face_afterwards():
    config = make_config({"generator": {"expression_dim": 96}})
    networks, sampler = build_networks(config), make_sampler(3, 8)  # people
    rng = np.random.default_rng(0)  # expressions that faces make
    sampler.labels["z_exp"] = torch.from_numpy(np.stack([sample_expression(rng) for _ in range(3)]))
    before = {name: value.clone() for name, value in networks.generator.state_dict().items()}
    d_e = networks.generator.expression_deformation
    error = warm_up_expression(d_e, networks.imitation, sampler, steps=500, seed=0)
    inputs = sampler.draw(8, 99)
    points, expected = face_points(networks.imitation, inputs.z_id, inputs.z_exp, torch.Generator().manual_seed(1))
    still = expected.square().sum(-1).mean().sqrt().item()
    assert error < 0.8 * still
    with torch.no_grad():
        d_e = networks.generator.expression_deformation
        found = d_e(points, d_e.style(inputs.z_id, inputs.z_exp))
    assert (found - expected).square().sum(-1).mean().sqrt().item() == pytest.approx(error, rel=0.25)
    changed = {name for name, value in networks.generator.state_dict().items() if not torch.equal(value, before[name])}
    assert changed and all(name.startswith("expression_deformation.") for name in changed)


def test_a_run_warms_up_once_and_the_same_way_every_time(tmp_path, monkeypatch):
    calls = []
    fit = manifold_recipe.warm_up_expression
    monkeypatch.setattr(manifold_recipe, "warm_up_expression", lambda *args, **more: calls.append(fit(*args, **more)))
    dataset = make_dataset(tmp_path / "set")
    changes = {"expression_warmup": 3, "run": {"total_kimg": 0.004}}
    run(dataset, tmp_path / "run", changes)
    run(dataset, tmp_path / "run", {**changes, "run": {"total_kimg": 0.008}})
    assert len(calls) == 1
    begin(make_config(changes), dataset, ALONE)[1].reader.close()
    assert calls[0] == calls[1]


def test_nothing_to_warm_up_with():
    with pytest.raises(UserError, match="expression_warmup: expected 0 without losses.imitation"):
        make_config({"expression_warmup": 3, "losses": {"imitation": 0.0}})
