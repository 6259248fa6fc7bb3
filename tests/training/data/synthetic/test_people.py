"""Synthetic people: cameras, determinism, controls."""

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from networks.cameras import FACE_CAMERA, PORTRAIT_CAMERA, cast_rays
from networks.cameras import project as project_reference
from tests.training.data.synthetic.meshes import FRONT, make_sphere
from training.data.synthetic import (
    PART_NAMES,
    ColouredMesh,
    SyntheticPerson,
    draw,
    lighting,
    sample_expression,
    sample_identity,
    sample_pose_camera,
)
from training.data.synthetic.drawing import camera_view, project
from training.data.synthetic.mesh import nearby, subdivide, vertex_normals

HAIR = PART_NAMES.index("hair")


@pytest.fixture(scope="module")
def person():
    return SyntheticPerson.sample(1)


def make_expression(**coefficients) -> np.ndarray:
    z = np.zeros(64, np.float32)
    for name, value in coefficients.items():
        z[int(name[1:])] = value
    return z


def make_eulers(**angles) -> np.ndarray:
    e = np.zeros((6, 3), np.float32)
    for name, value in angles.items():
        e[int(name[1]), int(name[2])] = value
    return e


@pytest.mark.parametrize("kind, model", [("portrait", PORTRAIT_CAMERA), ("face", FACE_CAMERA)])
def test_projection_agrees_with_the_camera(kind, model):
    points = np.random.default_rng(0).uniform(-0.15, 0.15, (50, 3))
    camera = (1.7, 1.3)
    pixels, _ = project(points, camera_view(camera, kind), 129)
    expected = project_reference(torch.tensor(points)[None], torch.tensor([camera], dtype=torch.float64), model)[0]
    # pixel (0, 0) is (-1, 1); pixel (128, 128) is (1, -1); both sides in float64
    np.testing.assert_allclose(pixels[:, 0], (expected[:, 0].numpy() + 1) * 64, atol=1e-9)
    np.testing.assert_allclose(pixels[:, 1], (1 - expected[:, 1].numpy()) * 64, atol=1e-9)


def test_a_small_sphere_lands_where_the_ray_passes():
    camera, size, row, column = (1.65, 1.45), 65, 20, 40
    rays = cast_rays(torch.tensor([camera], dtype=torch.float64), PORTRAIT_CAMERA, size)
    ray = row * size + column
    centre = (rays.origins + 1.9 * rays.directions)[0, ray].numpy()
    picture = draw(make_sphere(0.012, centre), camera, size)
    rows, columns = np.mgrid[:size, :size]
    weight = picture.alpha / picture.alpha.sum()
    # the disc's centroid; a sphere this small is symmetric to a tenth of a pixel
    assert abs((rows * weight).sum() - row) < 0.1
    assert abs((columns * weight).sum() - column) < 0.1
    # the mean over a pixel of a sphere four pixels wide
    assert picture.depth[row, column] == pytest.approx(1.9 - 0.012, abs=5e-4)


def test_face_camera_rides_on_the_head(person):
    eulers = make_eulers(j31=0.4, j02=0.1)
    head = person.joint_transforms(eulers)[15]
    still = draw(person.canonical_mesh(), FRONT, 64, camera_kind="face").image
    turned = draw(person.posed_mesh(np.zeros(64), eulers), FRONT, 64, camera_kind="face", head_transform=head).image
    # face pixels (the middle) are the same up to resampling; the neck below is not
    assert np.abs(still - turned)[:, 20:44, 20:44].mean() < 0.02


def test_drawing_is_white_outside_and_antialiased():
    picture = draw(make_sphere(0.1), FRONT, 64)
    assert picture.image.shape == (3, 64, 64) and picture.image.dtype == np.float32
    assert picture.image.min() >= -1 and picture.image.max() <= 1
    assert (picture.image[:, picture.alpha == 0] == 1).all()
    partial = (picture.alpha > 0) & (picture.alpha < 1)
    assert set(np.unique(picture.alpha)) <= {0.0, 0.25, 0.5, 0.75, 1.0}
    assert 20 < partial.sum() < 250  # a rim about one pixel wide round a disc of 16 pixels radius
    assert (picture.depth[picture.alpha == 0] == 0).all()


def test_nearest_surface_wins():
    near, far = make_sphere(0.03, (0, 0, 0.05)), make_sphere(0.1)
    blue = near._replace(colours=np.tile(np.float32([0, 0, 1]), (len(near.vertices), 1)))
    both = ColouredMesh(
        np.concatenate([blue.vertices, far.vertices]),
        np.concatenate([blue.faces, far.faces + len(near.vertices)]),
        np.concatenate([blue.colours, far.colours]),
        np.concatenate([blue.parts, far.parts]),
    )
    merged = draw(both, FRONT, 65).image[:, 29, 32]  # the canonical origin lies a little above the picture's centre
    np.testing.assert_allclose(merged, draw(far, FRONT, 65).image[:, 29, 32], atol=1e-6)  # it is inside the big one
    is_near = np.arange(len(both.vertices)) < len(near.vertices)
    moved = both._replace(vertices=both.vertices + np.float32([0, 0, 0.1]) * is_near[:, None])
    np.testing.assert_allclose(draw(moved, FRONT, 65).image[:, 29, 32], [-1, -1, 1], atol=1e-5)


def test_bad_arguments_are_named(person):
    with pytest.raises(ValueError, match="size"):
        draw(make_sphere(), FRONT, 1)
    with pytest.raises(ValueError, match="camera_kind"):
        draw(make_sphere(), FRONT, 16, camera_kind="side")
    with pytest.raises(ValueError, match=r"z_id: expected shape \[80\]"):
        SyntheticPerson(np.zeros(64), np.zeros(80), np.zeros(10))
    with pytest.raises(ValueError, match="betas"):
        SyntheticPerson(np.zeros(80), np.zeros(80), np.full(10, np.nan))
    with pytest.raises(ValueError, match="expression"):
        person.posed_mesh(np.zeros(3), np.zeros((6, 3)))


def test_same_seed_same_bytes(person):
    again = SyntheticPerson.sample(1)
    a, b = person.canonical_mesh(), again.canonical_mesh()
    assert a.vertices.tobytes() == b.vertices.tobytes() and a.colours.tobytes() == b.colours.tobytes()
    assert draw(a, FRONT, 64).image.tobytes() == draw(b, FRONT, 64).image.tobytes()
    other = SyntheticPerson.sample(2).canonical_mesh()
    assert other.vertices.shape == a.vertices.shape and (other.faces == a.faces).all()
    assert np.abs(other.vertices - a.vertices).max() > 1e-3


def test_zero_pose_is_the_canonical_mesh(person):
    still = person.posed_mesh(np.zeros(64), np.zeros((6, 3)))
    np.testing.assert_allclose(still.vertices, person.canonical_mesh().vertices, atol=1e-6)


def moved_rows(person, expression) -> np.ndarray:
    """Rows of a 128^2 front view that an expression changes visibly."""
    before = draw(person.canonical_mesh(), FRONT, 128).image
    after = draw(person.posed_mesh(expression, np.zeros((6, 3))), FRONT, 128).image
    return np.nonzero(np.abs(after - before).max((0, 2)) > 0.2)[0]


def to_row(person, y, size=128):
    return project(np.array([[0.0, y, 0.0]]), camera_view(FRONT), size)[0][0, 1]


def test_jaw_and_blink_change_the_right_pixels(person):
    marks = person.landmarks()
    jaw = moved_rows(person, make_expression(z0=-1.0))
    assert jaw.min() > to_row(person, marks[29, 1])  # nothing above the lower third of the nose
    assert jaw.max() > to_row(person, marks[57, 1])  # the lower lip and what is below
    blink = moved_rows(person, make_expression(z32=-0.8))
    assert blink.min() > to_row(person, marks[19:25, 1].max() + 0.012)
    assert blink.max() < to_row(person, marks[33, 1])
    assert len(blink) >= 3


def test_hair_grows_with_its_entry_of_eps():
    identity = sample_identity(np.random.default_rng(5))
    counts = []
    for value in (-2.0, -0.5, 0.3, 0.8, 1.3, 2.0):
        eps = identity.eps.copy()
        eps[4] = value
        person = SyntheticPerson(identity.z_id, eps, identity.betas)
        mesh = person.canonical_mesh()
        mask = mesh._replace(colours=np.repeat((mesh.parts == HAIR)[:, None], 3, 1).astype(np.float32))
        picture = draw(mask, FRONT, 96)
        hair = (picture.image.mean(0) + 1) / 2 - (1 - picture.alpha)
        counts.append(hair[int(to_row(person, person.landmarks()[8, 1], 96)) :].sum())
    assert counts[0] < 1 and counts[1] < 1  # short hair ends above the chin
    assert all(b >= a - 1e-6 for a, b in zip(counts, counts[1:], strict=False))
    assert counts[-1] > 100


def test_head_turn_and_shrug_move_what_they_should(person):
    mesh = person.canonical_mesh()
    turned = person.posed_mesh(np.zeros(64), make_eulers(j31=0.4))
    shift = np.abs(turned.vertices - mesh.vertices).max(1)
    nose = np.argmin(np.abs(mesh.vertices - person.landmarks()[30]).sum(1))
    assert turned.vertices[nose, 0] - mesh.vertices[nose, 0] > 0.02  # a positive turn looks to the person's left
    shirt = mesh.parts == PART_NAMES.index("clothes")
    far = shirt & (np.abs(mesh.vertices[:, 0]) > 0.12)
    assert shift[far].max() < 1e-4
    shrugged = person.posed_mesh(np.zeros(64), make_eulers(j10=0.25))
    rise = shrugged.vertices[:, 1] - mesh.vertices[:, 1]
    assert rise[shirt & (mesh.vertices[:, 0] > 0.13)].mean() > 0.015
    assert np.abs(rise[shirt & (mesh.vertices[:, 0] < -0.13)]).max() < 1e-3
    assert abs(rise[nose]) < 1e-3


def test_priors_are_plausible():
    rng = np.random.default_rng(0)
    rows = [sample_pose_camera(rng) for _ in range(400)]
    camera = np.stack([r.camera for r in rows]) - np.pi / 2
    assert (np.abs(camera) <= [0.15 + 1e-6, 0.35 + 1e-6]).all()
    turn = np.stack([r.joint_eulers[3, 1] + r.joint_eulers[0, 1] for r in rows])
    assert (np.abs(turn) <= 0.5 + 1e-6).all() and 0.15 < turn.std() < 0.35
    assert np.corrcoef(turn, camera[:, 1])[0, 1] < -0.1  # people tend to look at the camera
    expressions = np.stack([sample_expression(rng) for _ in range(400)])
    assert 0.3 < (expressions[:, 1] > 0.3).mean() < 0.6  # smiles
    assert 0.03 < (expressions[:, 32] < -0.4).mean() < 0.25  # blinks
    assert expressions[:, 0].min() < -0.6  # open mouths


def test_labels_go_together_as_in_photos():
    rng = np.random.default_rng(0)
    people = [sample_identity(rng) for _ in range(2000)]
    length = np.array([p.eps[4] for p in people])
    # standard errors of 2000 draws: 0.022 for a mean, 0.016 for a deviation, 0.02 for a correlation
    assert abs(length.mean()) < 0.07 and abs(length.std() - 1) < 0.06
    assert np.corrcoef(length, [p.betas[0] for p in people])[0, 1] == pytest.approx(-0.45, abs=0.07)
    faces = np.stack([sample_expression(rng) for _ in range(1000)])
    smiling = faces[:, 1] > 0.5
    # smiling eyes narrow: by 0.1 on average, and blinks leave a standard error of 0.02
    assert faces[~smiling, 32].mean() - faces[smiling, 32].mean() > 0.05


@pytest.mark.parametrize("seed", [1, 3, 21])
def test_a_blink_closes_the_eyes(seed):
    """Seed 1 has wider eyes than the mean face, on which the coefficient is defined."""
    someone = SyntheticPerson.sample(seed)

    def eye_pixels(expression) -> float:
        mesh = someone.posed_mesh(expression, np.zeros((6, 3)))
        eyes = (mesh.parts == PART_NAMES.index("eyes"))[:, None]
        picture = draw(mesh._replace(colours=np.repeat(eyes, 3, 1).astype(np.float32)), FRONT, 256, "face")
        return float(((picture.image.mean(0) + 1) / 2 - (1 - picture.alpha)).sum())

    assert eye_pixels(np.zeros(64, np.float32)) > 150
    assert eye_pixels(make_expression(z32=-0.8)) < 8  # a lash line's width at the corners


def test_light_without_shadows_is_nearly_a_quadratic():
    normals = np.random.default_rng(0).standard_normal((500, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    directions, weights = lighting.dome()
    exact = (weights * np.clip((normals @ directions.T + 0.25) / 1.25, 0, None)).sum(1)
    # what spherical harmonics above the second order hold of a clamped cosine: about one per cent
    np.testing.assert_allclose(lighting.open_sky(normals, lighting.dome_form()), exact, atol=0.02)


def test_nearby_weights_do_not_jump_at_a_tie():
    """Which of two equally far points is the last neighbour is a matter of the last bit: its weight is nothing."""
    points = np.array([[0.0, 0, 0], [1, 0, 0], [-1, 0, 0], [0, 3, 0]])
    index, weight = nearby(cKDTree(points), np.array([[0.0, 0.1, 0.0]]), k=3, soft=0.1)
    assert index[0, 0] == 0 and weight[0, 0] == pytest.approx(1.0, abs=1e-9)
    assert weight.sum() == pytest.approx(1.0, abs=1e-12)


def test_subdivision_keeps_the_surface_closed():
    mesh = make_sphere()
    marked = np.abs(mesh.vertices[mesh.faces].mean(1)[:, 1]) < 0.03  # a belt; the pin-holes at the poles stay
    level = subdivide(mesh.faces, marked, len(mesh.vertices))
    edges = np.sort(level.faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), 1)
    _, count = np.unique(edges, axis=0, return_counts=True)
    assert (count == 1).sum() == 2 * 100  # only the two pin-holes at the poles
    assert (count <= 2).all()
    normals = vertex_normals(level.apply(mesh.vertices), level.faces)
    assert ((normals * level.apply(mesh.vertices)).sum(1) > 0.095).all()
