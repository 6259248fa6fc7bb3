"""Labels of synthetic people: what is drawn, how often, and together with what."""

import numpy as np

from networks.person.open_body.actions import ACTIONS
from training.data.synthetic import (
    sample_actions,
    sample_expression,
    sample_identity,
    sample_pose_camera,
    sample_strong,
)
from training.data.synthetic.appearance import (
    AGE,
    HAIR_LENGTH,
    SEX,
    SKIN_TONE,
)
from training.data.synthetic.sampling import MAX_PITCH


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
