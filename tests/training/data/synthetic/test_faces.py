"""Faces of drawn people: eyes, mouths, lashes, and what moves with which action."""

import numpy as np
import pytest

from networks.person.open_body import parts
from tests.training.data.synthetic.made_up import NO_POSE, make_expression, make_person, share_of
from tests.training.data.synthetic.meshes import FRONT
from training.data.synthetic import (
    draw,
)
from training.data.synthetic.appearance import (
    appearance,
)
from training.data.synthetic.drawing import camera_view, project
from training.data.synthetic.eyes import paint_lashes
from training.data.synthetic.figure import figure
from training.data.synthetic.mesh import MM
from training.data.synthetic.surface import OPEN


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
