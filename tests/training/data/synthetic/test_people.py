"""Drawn people: who they are, that they are always the same, what is shown and moves where."""

import numpy as np
import pytest

from networks.person.body_model import HEAD
from networks.person.open_body import parts
from tests.training.data.synthetic.made_up import NO_POSE, make_eulers, make_person, share_of
from tests.training.data.synthetic.meshes import FRONT, make_sphere
from training.data.synthetic import (
    SyntheticPerson,
    draw,
    draw_mesh,
)
from training.data.synthetic.appearance import (
    COLLAR,
    HAIR_LENGTH,
    KNOT,
    NECKLINE,
    SEX,
    SHIRT_COLLAR,
    TIED,
    appearance,
)
from training.data.synthetic.clothes import neckline
from training.data.synthetic.knot import COLUMNS, ROWS, comb, direction
from training.data.synthetic.mesh import MM
from training.data.synthetic.surface import NORMAL


def test_face_camera_rides_on_the_head(person):
    eulers = make_eulers(j31=0.4, j02=0.1)
    head = person.joint_transforms(eulers)[HEAD]
    still = draw(person.posed(np.zeros(64), NO_POSE), FRONT, 64, camera_kind="face").image
    turned = draw(person.posed(np.zeros(64), eulers), FRONT, 64, camera_kind="face", head_transform=head).image
    # face pixels (the middle) are the same up to resampling; the neck below is not
    assert np.abs(still - turned)[:, 20:44, 20:44].mean() < 0.02


def test_bad_arguments_are_named(person):
    with pytest.raises(ValueError, match="size"):
        draw_mesh(make_sphere(), FRONT, 1)
    with pytest.raises(ValueError, match="camera_kind"):
        draw_mesh(make_sphere(), FRONT, 16, camera_kind="side")
    with pytest.raises(ValueError, match=r"z_id: expected shape \[80\]"):
        SyntheticPerson(np.zeros(64), np.zeros(80), np.zeros(10))
    with pytest.raises(ValueError, match="betas"):
        SyntheticPerson(np.zeros(80), np.zeros(80), np.full(10, np.nan))
    with pytest.raises(ValueError, match="expression"):
        person.posed(np.zeros(3), NO_POSE)


def test_same_seed_same_bytes(person):
    again = make_person()
    a, b = (draw(each.posed(np.zeros(64), NO_POSE), FRONT, 64).image for each in (person, again))
    assert a.tobytes() == b.tobytes()
    assert np.abs(draw(make_person(2).posed(np.zeros(64), NO_POSE), FRONT, 64).image - a).max() > 0.5


def test_zero_pose_is_the_canonical_person(person):
    surface = person.posed(np.zeros(64), NO_POSE).surfaces[0]
    np.testing.assert_allclose(surface.vertices, person.canonical_vertices(), atol=1e-6)


def test_hair_grows_with_its_entry_of_eps():
    counts = []
    for value in (-3.0, -0.5, 0.6, 1.2, 2.0):
        someone = make_person(5, **{f"e{HAIR_LENGTH}": value, f"e{SEX}": 1.0, "e31": -3.0})
        counts.append(share_of(someone, parts.HAIR, np.zeros(64)))
    assert abs(counts[0]) < 1e-3  # the rounding of float32 at the shirt's edge
    assert all(b > a for a, b in zip(counts, counts[1:], strict=False))


@pytest.mark.parametrize("knot", [-2.0, 2.0])
def test_tied_hair_is_gathered_behind_the_head(knot):
    someone = make_person(5, **{f"e{HAIR_LENGTH}": 1.0, f"e{SEX}": 1.0, f"e{TIED}": 3.0, f"e{KNOT}": knot})
    *_, tied, _ = someone.posed(np.zeros(64), NO_POSE).surfaces  # lashes are last
    assert len(tied.vertices) == ROWS * COLUMNS and (tied.materials == parts.HAIR).all()
    outwards = tied.vertices.reshape(ROWS, COLUMNS, 3) - tied.vertices.reshape(ROWS, COLUMNS, 3).mean(1, keepdims=True)
    assert (np.sum(outwards.reshape(-1, 3)[COLUMNS:-COLUMNS] * tied.attributes[COLUMNS:-COLUMNS, NORMAL], 1) > 0).all()
    x, y, z = tied.vertices.T / MM
    assert np.abs(x).max() < 45 and z.max() < -120
    # a bun near the crown, a tail down to the neck
    assert (y.min() > 20) if knot > 0 else (y.min() < -70 < 0 < y.max())
    loose = make_person(5, **{f"e{HAIR_LENGTH}": 1.0, f"e{SEX}": 1.0, f"e{TIED}": -3.0})
    assert len(loose.posed(np.zeros(64), NO_POSE).surfaces) < len(someone.posed(np.zeros(64), NO_POSE).surfaces)


def test_combed_strands_run_to_the_knot():
    look = make_person(5, **{f"e{KNOT}": 0.0}).look
    out = direction(look)
    side = np.array([1.0, 0.0, 0.0])
    points = np.stack([out, side, (out + side) / np.sqrt(2)])
    around, along, tangent = comb(points, np.zeros(3), look)
    np.testing.assert_allclose(along, [0, 90 * np.pi / 2, 90 * np.pi / 4], atol=1e-9)
    np.testing.assert_allclose(around[1], [1, 0], atol=1e-9)
    np.testing.assert_allclose(around[2], around[1], atol=1e-9)  # the same strand
    np.testing.assert_allclose(tangent[1], -out, atol=1e-9)


def test_collars_are_of_four_kinds():
    """In the middle, in front and at the nape: how high cloth begins; all of them cover the collarbones."""
    y = np.arange(-220.0, -60.0)
    front, nape = (np.stack([0 * y, y, 0 * y + z], 1) for z in (-72.0, -171.0))
    edges = []
    for value in (-2.0, 0.0, 0.6, 2.0):
        narrow, wide = (make_person(1, **{f"e{COLLAR}": value, f"e{NECKLINE}": width}) for width in (-1.0, 3.0))
        assert narrow.look.collar.max() == 1 == narrow.look.collar.sum()
        assert neckline(front[y < -168], wide.look).min() > 0
        edges.append([y[neckline(where, narrow.look) > 0].max() for where in (front, nape)])
        leaves = narrow.posed(np.zeros(64), NO_POSE).surfaces[2].materials[0] == parts.SHIRT
        assert leaves == (narrow.look.collar[SHIRT_COLLAR] == 1)
    (crew, vee, shirt, _), (crew_behind, _, shirt_behind, turtleneck_behind) = zip(*edges, strict=True)
    assert vee < crew - 10 and shirt < crew - 5
    assert min(shirt_behind, turtleneck_behind) > crew_behind + 15


def test_everybody_is_clothed_from_all_sides():
    """Below the collarbones there is cloth, whatever its cut."""
    for seed in range(4):
        posed = make_person(seed).posed(np.zeros(64), NO_POSE)
        for yaw in (0.0, 1.6, 3.1, -1.6):
            camera = (np.pi / 2, np.pi / 2 + yaw)

            class Where:
                def __call__(self, material, attributes, pixel, posed=posed):
                    bare = (material == parts.SKIN) & (attributes[:, 1] < -165)  # mm of the mean person
                    return np.repeat(bare[:, None], 3, 1).astype(float), posed.shader(material, attributes, pixel)[1]

            picture = draw(posed._replace(shader=Where()), camera, 96)
            assert ((picture.image.mean(0) + 1) / 2 - (1 - picture.alpha)).max() < 0.3


def test_head_turn_and_shrug_move_what_they_should(person):
    still = person.canonical_vertices()
    turned = person.posed(np.zeros(64), make_eulers(j31=0.4)).surfaces[0].vertices
    nose = person.figure.landmarks[30]
    assert turned[nose, 0] - still[nose, 0] > 0.02  # a positive turn looks to the person's left
    shirt = person.figure.part == parts.SHIRT
    assert np.abs(turned - still)[shirt & (np.abs(still[:, 0]) > 0.12)].max() < 1e-4
    rise = person.posed(np.zeros(64), make_eulers(j10=0.25)).surfaces[0].vertices[:, 1] - still[:, 1]
    assert rise[shirt & (still[:, 0] > 0.13) & (still[:, 0] < 0.2)].mean() > 0.01
    assert np.abs(rise[shirt & (still[:, 0] < -0.13)]).max() < 1e-3
    assert abs(rise[nose]) < 1e-3


def test_appearance_is_a_smooth_function_of_eps():
    """A step of 1e-5 in any direction changes no number by more than 1e-3: nothing jumps."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        eps = rng.standard_normal(80)
        a, b = appearance(eps), appearance(eps + 1e-5 * rng.standard_normal(80))
        assert max(np.abs(np.subtract(x, y)).max() for x, y in zip(a, b, strict=True)) < 1e-3
