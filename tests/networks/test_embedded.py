"""Frames, head surface and labels of the embedded assets, and how body and face fit each other."""

import numpy as np
import pytest

from networks.embedded import body, face, figure, frames, head, mesh, sdf


@pytest.fixture(scope="module")
def parts():
    return body.build_body()


@pytest.fixture(scope="module")
def template():
    return face.build_face().points


def test_frames_invert_each_other():
    points = np.random.default_rng(0).standard_normal((20, 3))
    np.testing.assert_allclose(frames.to_tpose(frames.to_upright(points)), points, atol=1e-12)
    np.testing.assert_allclose(frames.from_canonical(frames.to_canonical(points)), points, atol=1e-12)
    # canonical origin: 0.1506 m above and 0.1129 m in front of the neck joint; 1 unit = 1.1775 m
    np.testing.assert_allclose(frames.from_canonical(np.zeros(3)), [0.0, 0.4386, 0.0979], atol=1e-4)
    assert pytest.approx(1.1775, abs=1e-4) == frames.UNIT


def test_ray_cast_and_projection_on_a_sphere():
    def ball(p):
        return sdf.sphere(p, (0.1, 0.0, 0.0), 0.05)

    directions = np.random.default_rng(1).standard_normal((50, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    radius = sdf.cast(ball, (0.1, 0.0, 0.0), directions, 0.0, 0.2)
    np.testing.assert_allclose(radius, 0.05, atol=1e-6)
    near = np.array([0.1, 0.0, 0.0]) + 0.06 * directions
    on = sdf.project(ball, near)
    np.testing.assert_allclose(np.linalg.norm(on - (0.1, 0.0, 0.0), axis=1), 0.05, atol=1e-9)


def test_surface_net_of_a_sphere():
    axis = np.linspace(-1.0, 1.0, 24) ** 3 * 0.3 + np.linspace(-1.0, 1.0, 24) * 0.9
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1)
    vertices, faces = mesh.surface_net(np.linalg.norm(grid, axis=-1) - 0.7, (axis, axis, axis))
    assert np.abs(np.linalg.norm(vertices, axis=1) - 0.7).max() < 0.03  # about a quarter of a cell
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    assert np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6 == pytest.approx(4 / 3 * np.pi * 0.343, rel=0.05)
    normals = mesh.vertex_normals(vertices, faces)
    assert ((normals * vertices).sum(1) > 0.6).all()


def test_head_proportions():
    up, down, side, back, front = head.head_surface(
        np.array([[0, 1, 0], [0, -1, 0.62], [1, 0.35, -0.3], [0, 0.25, -1], [0, 0.5, 1]], dtype=float)
    )
    assert up[1] == pytest.approx(0.572, abs=0.004)
    assert 2 * side[0] == pytest.approx(0.152, abs=0.006)
    assert front[2] - back[2] == pytest.approx(0.195, abs=0.01)
    assert up[1] - down[1] == pytest.approx(0.23, abs=0.01)
    assert head.EYE[1] == pytest.approx(0.5 * (up[1] + down[1]), abs=0.01)


def test_face_lies_on_the_body_head(parts, template):
    """Where the face mesh ends, it meets the body's surface."""
    regions = face.face_regions()
    assert (regions["skin"] > 0).any()
    tpose = frames.to_tpose(template)
    np.testing.assert_allclose(face.face_template_tpose(), tpose, atol=1e-6)
    shown = body.body_regions(parts.v_template)["under_face"]
    assert 500 < (shown > 0.5).sum() < 2000
    covered = parts.v_template[shown > 0.99]
    inside = head.head_distance(frames.to_upright(covered), detail=False)
    assert np.median(inside) == pytest.approx(-0.0018, abs=0.0005)


def test_face_regions(template):
    regions = face.face_regions()
    keys = {"skin", "upper_lip", "lower_lip", "brow_left", "brow_right", "lash_line", "eye_white", "iris", "pupil",
            "mouth_interior", "teeth", "ear"}  # fmt: skip
    assert keys <= set(regions)
    for name, value in regions.items():
        assert value.shape == (len(template),) and value.dtype == np.float32, name
        assert value.min() >= 0 and value.max() == 1, name
    at = {name: template[value > 0.5].mean(0) for name, value in regions.items()}
    assert at["brow_left"][0] > 0.02 and at["brow_right"][0] < -0.02
    assert at["upper_lip"][1] > at["lower_lip"][1]
    assert at["brow_left"][1] > at["iris"][1] > at["upper_lip"][1]
    assert at["teeth"][2] < at["upper_lip"][2]
    exclusive = sum(regions[name] for name in ("skin", "eye_white", "iris", "pupil", "mouth_interior", "teeth"))
    np.testing.assert_allclose(exclusive, 1.0, atol=1e-6)


def test_body_regions(parts):
    regions = body.body_regions(parts.v_template)
    v = parts.v_template
    keys = {"scalp", "head", "neck", "ears", "torso", "arm_left", "arm_right", "hand", "legs", "under_face"}
    assert keys <= set(regions)
    for name, value in regions.items():
        assert value.shape == (len(v),) and value.dtype == np.float32, name
        assert value.min() >= 0 and 0.5 < value.max() <= 1, name
    assert v[regions["arm_left"] > 0.5, 0].min() > 0.1
    assert v[regions["arm_right"] > 0.5, 0].max() < -0.1
    assert v[regions["scalp"] > 0.5, 1].min() > 0.35
    assert v[regions["legs"] > 0.5, 1].max() < -0.2
    whole = sum(regions[name] for name in ("head", "neck", "torso", "arm_left", "arm_right", "hand", "legs"))
    np.testing.assert_allclose(whole, 1.0, atol=1e-5)


def test_neutral_lips_touch_and_eyes_cover_the_balls(template):
    from networks.embedded.face_parts import EYEBALL, RIM, build_face_mesh

    face_mesh = build_face_mesh()
    upper = template[face_mesh.lip_side > 0]
    lower = template[face_mesh.lip_side < 0]
    np.testing.assert_allclose(upper, lower, atol=1e-12)
    left = (template[:, 0] > 0)[:, None] * (template - head.EYE)
    ball = np.linalg.norm(left[(face_mesh.part == EYEBALL) & (template[:, 0] > 0)], axis=1)
    np.testing.assert_allclose(ball, head.EYE_RADIUS, atol=1e-12)
    rim = np.linalg.norm(left[(face_mesh.part == RIM) & (template[:, 0] > 0)], axis=1)
    assert rim.min() > head.EYE_RADIUS


def test_closed_lids_stay_in_front_of_the_eyeballs():
    from networks.embedded.face_expression import eye_closed
    from networks.embedded.face_parts import RIM, SKIN, build_face_mesh

    face_mesh = build_face_mesh()
    near = np.isin(face_mesh.part, [SKIN, RIM]) & (np.linalg.norm(face_mesh.points - head.EYE, axis=1) < 0.020)
    for share in (0.25, 0.5, 0.75, 1.0):
        moved = face_mesh.points + share * eye_closed(face_mesh, 1.0)
        distance = np.linalg.norm(moved[near] - head.EYE, axis=1)
        assert distance.min() > head.EYE_RADIUS - 0.0008, share  # a chord of the lid's arc is at most 0.8 mm inside


def test_identity_directions_are_visible_and_decrease():
    basis = face.build_face().id_basis
    size = np.linalg.norm(basis, axis=1).max(0)
    assert (size[:22] > 0.0012).all() and (size[:22] < 0.006).all()
    rest = size[22:]
    assert rest.max() < 0.0011 and rest[:10].mean() > 2 * rest[-10:].mean()


def test_split_faces_stays_closed():
    """A tetrahedron with one face split in four: its three neighbours are halved, 4 + 3 * 2 faces, area unchanged."""
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], dtype=float)
    faces = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [2, 0, 3]])
    fine, split = mesh.split_faces(vertices, faces, np.array([True, False, False, False]))
    assert len(fine) == 7 and len(split) == 10
    edges = np.concatenate([split[:, [0, 1]], split[:, [1, 2]], split[:, [2, 0]]])
    assert {tuple(e) for e in edges} == {(b, a) for a, b in edges}
    a, b, c = (fine[split[:, k]] for k in range(3))
    assert np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6 == pytest.approx(1 / 6)


def test_body_skin_lies_on_the_field(parts):
    """No vertex is left inside or turned over: uncovered ones lie on the surface, and normals agree with it."""
    v = parts.v_template
    distance = figure.body_distance(v)
    bare = body.under_face(v) == 0
    assert (np.abs(distance[bare]) < 5e-4).mean() > 0.995
    assert np.abs(distance).max() < 0.005
    agree = (mesh.vertex_normals(v, parts.faces) * sdf.normals(figure.body_distance, v)).sum(1)
    assert agree.min() > 0.3
