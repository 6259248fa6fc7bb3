"""Synthetic people: cameras, determinism, controls, what is painted where."""

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from networks.cameras import FACE_CAMERA, PORTRAIT_CAMERA, cast_rays
from networks.cameras import project as project_reference
from networks.person.body_model import HEAD
from networks.person.open_body import parts
from networks.person.open_body.actions import ACTIONS
from tests.training.data.synthetic.meshes import FRONT, make_sphere
from training.data.synthetic import (
    ColouredMesh,
    SyntheticPerson,
    draw,
    draw_mesh,
    sample_actions,
    sample_expression,
    sample_identity,
    sample_pose_camera,
    sample_strong,
)
from training.data.synthetic import light as lighting
from training.data.synthetic.appearance import (
    AGE,
    COLLAR,
    HAIR_LENGTH,
    KNOT,
    NECKLINE,
    SEX,
    SHIRT_COLLAR,
    SKIN_TONE,
    TIED,
    appearance,
)
from training.data.synthetic.clothes import neckline
from training.data.synthetic.drawing import camera_view, project
from training.data.synthetic.eyes import paint_lashes
from training.data.synthetic.figure import figure
from training.data.synthetic.knot import COLUMNS, ROWS, comb, direction
from training.data.synthetic.mesh import MM, nearby
from training.data.synthetic.noise import noise2, noise3
from training.data.synthetic.sampling import MAX_PITCH
from training.data.synthetic.surface import NORMAL, OPEN

NO_POSE, SIDE = np.zeros((6, 3)), (np.pi / 2, np.pi / 2 - 1.2)


def make_person(seed: int = 1, **eps: float) -> SyntheticPerson:
    """The person of a seed, entries of eps (``e4``) changed."""
    identity = sample_identity(np.random.default_rng(seed))
    for name, value in eps.items():
        identity.eps[int(name[1:])] = value
    return SyntheticPerson(identity.z_id, identity.eps, identity.betas)


@pytest.fixture(scope="module")
def person():
    return make_person()


def make_expression(**actions: float) -> np.ndarray:
    z = np.zeros(64, np.float32)
    for name, value in actions.items():
        for side in [name] if name in ACTIONS else [f"{name}Left", f"{name}Right"]:
            z[ACTIONS.index(side)] = value
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
    picture = draw_mesh(make_sphere(0.012, centre), camera, size)
    rows, columns = np.mgrid[:size, :size]
    weight = picture.alpha / picture.alpha.sum()
    # the disc's centroid; a sphere this small is symmetric to a tenth of a pixel
    assert abs((rows * weight).sum() - row) < 0.1
    assert abs((columns * weight).sum() - column) < 0.1
    # the mean over a pixel of a sphere four pixels wide
    assert picture.depth[row, column] == pytest.approx(1.9 - 0.012, abs=5e-4)


def test_face_camera_rides_on_the_head(person):
    eulers = make_eulers(j31=0.4, j02=0.1)
    head = person.joint_transforms(eulers)[HEAD]
    still = draw(person.posed(np.zeros(64), NO_POSE), FRONT, 64, camera_kind="face").image
    turned = draw(person.posed(np.zeros(64), eulers), FRONT, 64, camera_kind="face", head_transform=head).image
    # face pixels (the middle) are the same up to resampling; the neck below is not
    assert np.abs(still - turned)[:, 20:44, 20:44].mean() < 0.02


def test_drawing_is_white_outside_and_antialiased():
    picture = draw_mesh(make_sphere(0.1), FRONT, 64)
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
    )
    merged = draw_mesh(both, FRONT, 65).image[
        :, 29, 32
    ]  # the canonical origin lies a little above the picture's centre
    np.testing.assert_allclose(
        merged, draw_mesh(far, FRONT, 65).image[:, 29, 32], atol=1e-6
    )  # it is inside the big one
    is_near = np.arange(len(both.vertices)) < len(near.vertices)
    moved = both._replace(vertices=both.vertices + np.float32([0, 0, 0.1]) * is_near[:, None])
    np.testing.assert_allclose(draw_mesh(moved, FRONT, 65).image[:, 29, 32], [-1, -1, 1], atol=1e-5)


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


def moved_rows(person, expression) -> np.ndarray:
    """Rows of a 128^2 face picture that an expression changes visibly."""
    before = draw(person.posed(np.zeros(64), NO_POSE), FRONT, 128, "face").image
    after = draw(person.posed(expression, NO_POSE), FRONT, 128, "face").image
    return np.nonzero(np.abs(after - before).max((0, 2)) > 0.2)[0]


def test_jaw_and_blink_change_the_right_pixels(person):
    marks = person.posed(np.zeros(64), NO_POSE).landmarks

    def row(y: float) -> float:
        return project(np.array([[0.0, y, 0.0]]), camera_view(FRONT, "face"), 128)[0][0, 1]

    jaw = moved_rows(person, make_expression(jawOpen=0.6))
    assert jaw.min() > row(marks[28, 1])  # nothing above the middle of the nose
    assert jaw.max() > row(marks[57, 1])  # the lower lip and what is below
    blink = moved_rows(person, make_expression(eyeBlink=1.0))
    assert blink.min() > row(marks[17:27, 1].max()) and blink.max() < row(marks[33, 1])
    assert len(blink) >= 3


def share_of(person, part: int, expression, camera=FRONT, kind: str = "portrait", size: int = 96) -> float:
    """Pixels of a picture that show a part."""
    posed = person.posed(expression, NO_POSE)

    class Flat:
        def __call__(self, material, attributes, pixel):
            shown = np.repeat((material == part)[:, None], 3, 1).astype(float)
            return shown, posed.shader(material, attributes, pixel)[1]

    picture = draw(posed._replace(shader=Flat()), camera, size, kind)
    return float(((picture.image.mean(0) + 1) / 2 - (1 - picture.alpha)).sum())


@pytest.mark.parametrize("seed", [1, 3, 21])
def test_a_blink_closes_the_eyes(seed):
    someone = make_person(seed)
    assert share_of(someone, parts.EYE, np.zeros(64), kind="face", size=256) > 150
    assert share_of(someone, parts.EYE, make_expression(eyeBlink=1.0), kind="face", size=256) < 10  # at the corners


def test_an_open_mouth_shows_teeth_and_tongue(person):
    def inside(expression) -> float:
        return sum(share_of(person, part, expression, kind="face", size=128) for part in (parts.TEETH, parts.TONGUE))

    assert inside(np.zeros(64)) < 6 < 40 < inside(make_expression(jawOpen=0.6))  # a gap between the lips, an open mouth


def test_teeth_of_an_open_mouth_are_light(person):
    """The upper ones reach into sight, and the shade of the closed mouth does not stick to them."""
    f, expression = person.figure, make_expression(jawOpen=0.5)
    posed = person.posed(expression, NO_POSE)
    surface = posed.surfaces[0]
    lips = posed.landmarks[[62, 66], 1]  # inner edges of the upper and the lower lip
    front = (f.part == parts.TEETH) & (np.abs(f.rest[:, 0]) < 0.01) & (f.rest[:, 2] > -20 * MM)
    biting = front & (f.rest[:, 1] > -61 * MM) & (f.rest[:, 1] < -58 * MM)
    assert biting.sum() == 3 and (surface.vertices[biting, 1] < lips[0] - 2 * MM).all()
    shown = surface.attributes[biting]
    colours = posed.shader(np.full(len(shown), parts.TEETH), shown, 1.0)[0]
    assert colours.min() > 0.6
    assert share_of(person, parts.TEETH, expression, kind="face", size=128) > 25


def test_shadows_of_the_mouth_stay_in_it(person):
    """No probe lies within; where lips meet and cheeks begin, skin is as open to the light as its surroundings."""
    f = person.figure
    assert (f.labels["mouth_inside"][f.probes] < 0.1).all() and (f.part[f.probes] != parts.EYE).all()
    open_ = person._attributes[:, OPEN]
    x, y, z = (f.rest / MM).T
    beside = (f.part == parts.SKIN) & (f.labels["mouth_inside"] < 0.1) & (np.abs(y + 50) < 8) & (z > -40)
    beside &= (np.abs(x) > 26) & (np.abs(x) < 40)
    assert beside.sum() > 20 and open_[beside].min() > 0.6 * np.median(open_[beside])


def test_lower_lashes_are_fainter():
    lash = figure().lash[figure().part == parts.LASH]
    y = figure().rest[figure().part == parts.LASH, 1]
    upper = lash[:, 2] == 1
    assert upper.sum() == 130 and (~upper).sum() == 120  # two strips of each
    assert y[upper].mean() > y[~upper].mean() + 4 * MM
    root = np.array([[0.2, 0.5, 1.0], [0.2, 0.5, 0.0]])
    above, below = paint_lashes(root, appearance(np.zeros(80)), 1.0)[1]
    assert below < 0.5 * above


def test_eyes_look_where_they_are_told(person):
    """The pupil's middle moves to the person's left, which is the picture's right."""
    columns = []
    for left, right in ((0.0, 0.0), (0.8, 0.8)):
        expression = make_expression(eyeLookOutLeft=left, eyeLookInRight=right)
        posed = person.posed(expression, NO_POSE)
        image = draw(posed, FRONT, 256, "face").image
        place = project(posed.landmarks[42:48], camera_view(FRONT, "face"), 256)[0]
        low, high = np.rint(place.min(0)).astype(int), np.rint(place.max(0)).astype(int)
        dark = np.clip(-0.6 - image[:, low[1] : high[1], low[0] : high[0]].mean(0), 0, None)
        columns.append((dark.sum(0) * np.arange(dark.shape[1])).sum() / dark.sum())
    assert columns[1] > columns[0] + 2


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


def test_priors_are_plausible():
    rng = np.random.default_rng(0)
    rows = [sample_pose_camera(rng) for _ in range(400)]
    camera = np.stack([r.camera for r in rows]) - np.pi / 2
    assert (np.abs(camera) <= [0.15 + 1e-6, 0.35 + 1e-6]).all()
    turn = np.stack([r.joint_eulers[3, 1] + r.joint_eulers[0, 1] for r in rows])
    assert (np.abs(turn) <= 0.5 + 1e-6).all() and 0.15 < turn.std() < 0.35
    assert np.corrcoef(turn, camera[:, 1])[0, 1] < -0.1  # people tend to look at the camera
    expressions = np.stack([sample_expression(rng) for _ in range(400)])
    assert expressions.min() == 0 and expressions.max() <= 1 and not expressions[:, 52:].any()
    column = {name: expressions[:, i] for i, name in enumerate(ACTIONS)}
    assert 0.3 < (column["mouthSmileLeft"] > 0.3).mean() < 0.6
    assert 0.03 < (column["eyeBlinkLeft"] > 0.6).mean() < 0.25
    assert 0.1 < (column["jawOpen"] > 0.15).mean() < 0.5


def test_every_action_is_shown_at_any_strength():
    """400 draws show 4 of the 44 actions that are no glance, and the other side of most: at least 36 times each."""
    rng = np.random.default_rng(0)
    shown = np.stack([sample_actions(rng) for _ in range(400)])
    assert shown.min() == 0 and shown.max() <= 1 and not shown[:, 52:].any()
    assert ((shown[:, :52] > 0).sum(0) > 25).all() and (shown[:, :52].max(0) > 0.8).all()
    left, right = ACTIONS.index("browDownLeft"), ACTIONS.index("browDownRight")
    either = shown[(shown[:, left] > 0) | (shown[:, right] > 0)]
    assert 0.5 < (either[:, left] == either[:, right]).mean() < 0.95
    inwards, outwards = (shown[:, ACTIONS.index(name)] for name in ("eyeLookInLeft", "eyeLookOutRight"))
    assert (inwards == outwards).all()  # both eyes look the same way


def test_strong_expressions():
    """Every other one closes its lids, and what is shown is strong."""
    rng = np.random.default_rng(0)
    shown = np.stack([sample_strong(rng) for _ in range(400)])[:, :52]
    assert shown.min() == 0 and shown.max() <= 1
    glances = [name.startswith("eyeLook") for name in ACTIONS]
    assert shown[:, ~np.array(glances)][shown[:, ~np.array(glances)] > 0].min() >= 0.4
    blinks = shown[:, ACTIONS.index("eyeBlinkRight")] > 0
    assert 0.45 < blinks.mean() < 0.65  # a half, and 2 of 11 times 1 more


def test_cameras_all_round():
    rng = np.random.default_rng(0)
    camera = np.stack([sample_pose_camera(rng, "all").camera for _ in range(800)]) - np.pi / 2
    assert np.abs(camera[:, 0]).max() <= MAX_PITCH + 1e-6
    counts, _ = np.histogram(camera[:, 1], bins=8, range=(-np.pi, np.pi))
    assert counts.sum() == 800 and counts.min() > 60  # of 100 each, standard deviation 9.4


def test_labels_go_together_as_in_people():
    rng = np.random.default_rng(0)
    people = [sample_identity(rng) for _ in range(2000)]
    eps = np.stack([p.eps for p in people])
    # standard errors of 2000 draws: 0.022 for a mean, 0.016 for a deviation
    for entry in (AGE, SEX, SKIN_TONE, HAIR_LENGTH):
        assert abs(eps[:, entry].mean()) < 0.08 and abs(eps[:, entry].std() - 1) < 0.06
    shapes = np.stack([np.concatenate([p.z_id, p.betas]) for p in people])
    assert abs(shapes.std(0).mean() - 1) < 0.05

    def told_by_shape(entry: int) -> float:
        design = np.concatenate([shapes, np.ones((2000, 1))], 1)
        solution = np.linalg.lstsq(design[:1000], eps[:1000, entry], rcond=None)[0]
        return np.corrcoef(design[1000:] @ solution, eps[1000:, entry])[0, 1]

    assert told_by_shape(SEX) > 0.6 and told_by_shape(AGE) > 0.4  # faces and bodies show them


def test_light_without_shadows_is_nearly_a_quadratic():
    normals = np.random.default_rng(0).standard_normal((500, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    light = lighting.make_light(0.4, 0.6, 0.5, 0.0)
    exact = sum(w * lighting.facing(normals, d) for d, w in zip(light.directions, light.weights, strict=True))
    # what spherical harmonics above the second order hold of a clamped cosine: a few per cent
    np.testing.assert_allclose(lighting.irradiance(normals, light), exact, atol=0.06)


def test_a_roof_shadows_what_is_under_it():
    grid = np.stack(np.meshgrid(np.linspace(-0.2, 0.2, 130), [0.1], np.linspace(-0.2, 0.2, 130)), -1).reshape(-1, 3)
    light, up = lighting.make_light(0.0, 1.2, 0.5, 0.0), np.array([[0.0, 1.0, 0.0]])
    under, above = (lighting.openness(np.array([[0.0, y, 0.0]]), up, light, grid)[0] for y in (0.05, 0.3))
    assert under < 0.25 and above > 0.95


def test_noise_is_smooth_and_the_same_everywhere():
    points = np.random.default_rng(0).uniform(-1, 1, (1000, 3))
    a, b = noise3(points, 7.0), noise3(points + 1e-6, 7.0)
    assert np.abs(a - b).max() < 1e-4 and a.std() > 0.2 and np.abs(a).max() <= 1
    # The numbers themselves: another machine must find them.
    np.testing.assert_allclose(noise3(np.array([[0.1, 0.2, 0.3]]), 5.0, 2), [0.30352391], atol=1e-8)
    np.testing.assert_allclose(noise2(np.array([0.4]), np.array([1.7]), 3), [-0.19167028], atol=1e-8)


def test_nearby_weights_do_not_jump_at_a_tie():
    """Which of two equally far points is the last neighbour is a matter of the last bit: its weight is nothing."""
    points = np.array([[0.0, 0, 0], [1, 0, 0], [-1, 0, 0], [0, 3, 0]])
    index, weight = nearby(cKDTree(points), np.array([[0.0, 0.1, 0.0]]), k=3, soft=0.1)
    assert index[0, 0] == 0 and weight[0, 0] == pytest.approx(1.0, abs=1e-9)
    assert weight.sum() == pytest.approx(1.0, abs=1e-12)
