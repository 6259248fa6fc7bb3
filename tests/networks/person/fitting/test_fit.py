"""People and what they do are found again from landmarks whose places are known, with noise, outliers and gaps."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from networks.person.body_model import euler_to_matrix
from networks.person.fitting import video
from networks.person.fitting.fit import HUBER, fit_frames, fit_person
from networks.person.fitting.frames import CAMERA, COLLARS, HEAD_TURN, ROLL, SHIFT, TURNS
from networks.person.fitting.live import LiveFit
from networks.person.fitting.measured import expressions, observed
from networks.person.fitting.priors import priors
from networks.person.fitting.start import first_guess
from networks.person.fitting.video import fit_video, spread_out, windows
from networks.person.open_body.actions import ACTIONS
from networks.person.tracker.follow import Sighting
from networks.person.tracking import MILLIMETRES
from tests.networks.person.fitting.made_tracks import made_frames, made_landmarks, made_pixels, made_track
from training.data.synthetic import sample_identity


def make_performance(count=36, seed=2):
    """A person (shape [90]) who turns, nods, shrugs, blinks, smiles and talks: frames [F, Q], actions [F, 52]."""
    who = sample_identity(np.random.default_rng(seed))
    time = torch.arange(count, dtype=torch.float64) / 25
    turns = torch.zeros(count, 13, dtype=torch.float64)
    turns[:, 1], turns[:, 2] = 0.3 * (2 * math.pi * 0.4 * time).sin(), 0.1 * (2 * math.pi * 0.7 * time).sin()
    turns[:, 3], turns[:, 5] = (
        0.1 * (1 - (2 * math.pi * 0.5 * time).cos()),
        -0.1 * (1 - (2 * math.pi * 0.5 * time).cos()),
    )
    cameras = torch.zeros(count, 2, dtype=torch.float64)
    cameras[:, 1] = 0.15
    actions = torch.zeros(count, 52, dtype=torch.float64)
    curves = {
        "eyeBlink": (0.5 - 0.5 * (2 * math.pi * time).cos()) ** 8,
        "mouthSmile": 0.4 - 0.4 * (2 * math.pi * 0.5 * time).cos(),
        "jawOpen": 0.3 * (2 * math.pi * 1.3 * time).sin() ** 2,
    }
    for name, curve in curves.items():
        for column, action in enumerate(ACTIONS):
            if action.startswith(name):
                actions[:, column] = curve
    shape = torch.from_numpy(np.concatenate([who.z_id, who.betas])).double()
    return shape, made_frames(turns, cameras), actions


def correlation(found, true, name):
    column = ACTIONS.index(name)
    return np.corrcoef(np.asarray(found)[:, column], np.asarray(true)[:, column])[0, 1]


def head_before_camera(frames):
    """Rotation of the head as the camera's angles and turn have it [F, 3, 3]."""
    turned = euler_to_matrix(torch.as_tensor(frames)[:, HEAD_TURN])
    around = torch.zeros(len(frames), 3, dtype=torch.float64)
    around[:, 1], around[:, 2] = torch.as_tensor(frames)[:, 1], -torch.as_tensor(frames)[:, 0]
    return euler_to_matrix(around) @ turned


def degrees_between(a, b):
    trace = (a.mT @ b).diagonal(dim1=-2, dim2=-1).sum(-1)
    return torch.rad2deg(((trace - 1) / 2).clamp(-1, 1).acos())


def test_a_known_person_is_followed_exactly():
    marks, (shape, frames, actions) = made_landmarks(), make_performance(8)
    seen = observed(made_track(marks, shape, frames, actions), marks)
    seen = seen._replace(certainty=1e4 * seen.certainty)  # against which priors count nothing
    start, still = first_guess(marks.points, seen, priors().shape_mean)
    found = fit_frames(marks.points, seen, shape, start, still, steps=30)
    assert found.error.max() < 0.05  # mm; the track's numbers are float32
    assert (found.frames[:, HEAD_TURN] - frames[:, HEAD_TURN]).abs().max() < 0.01
    assert (found.frames[:, COLLARS] - frames[:, COLLARS]).abs().max() < 0.02
    assert (found.frames[:, CAMERA] - frames[:, CAMERA]).abs().max() < 0.01
    assert (found.frames[:, SHIFT] - frames[:, SHIFT]).abs().max() < 0.5  # pixels
    assert correlation(found.actions, actions, "jawOpen") > 0.99


def test_the_first_guess_finds_turned_heads():
    marks, (shape, frames, actions) = made_landmarks(), make_performance(5)
    frames[:, HEAD_TURN.start + 1] = torch.tensor([-0.9, -0.5, 0.0, 0.5, 0.9])
    frames[:, CAMERA], frames[:, ROLL] = 0, torch.tensor([0.4, 0.0, -0.3, 0.1, -0.4])
    seen = observed(made_track(marks, shape, frames, actions), marks)
    found, _ = first_guess(marks.points, seen, priors().shape_mean)
    assert (found[:, HEAD_TURN.start + 1] - frames[:, HEAD_TURN.start + 1]).abs().max() < 0.4
    assert (found[:, ROLL] - frames[:, ROLL]).abs().max() < 0.15


@pytest.fixture(scope="module")
def performance():
    marks, (shape, frames, actions) = made_landmarks(), make_performance()
    track = made_track(marks, shape, frames, actions, noise=0.5)
    return marks, shape, frames, actions, track, fit_video(track, marks)


def test_a_video_is_found_again(performance):
    marks, shape, frames, actions, _, found = performance
    away = degrees_between(head_before_camera(found.frames), head_before_camera(frames))
    assert away.mean() < 3  # degrees; a sixth of the landmarks, half a pixel of noise
    assert np.degrees(np.abs(found.camera - (frames[:, CAMERA] + math.pi / 2).numpy()).mean(0)).max() < 4
    for name, least in (("eyeBlinkLeft", 0.9), ("jawOpen", 0.9), ("mouthSmileRight", 0.9)):
        assert correlation(found.expression, actions, name) > least
    for column in (COLLARS.start, COLLARS.start + 2):
        assert np.corrcoef(found.frames[:, column], frames[:, column])[0, 1] > 0.9
    true, fitted = (
        marks.points.canonical(torch.as_tensor(s), torch.as_tensor(a)[:, :52])[:, : len(marks.face)]
        for s, a in ((shape, actions), (found.shape, found.expression))
    )
    neutral = marks.points.canonical(priors().shape_mean, 0 * actions)[:, : len(marks.face)]
    error, without = ((true - other).norm(dim=-1).mean() * MILLIMETRES for other in (fitted, neutral))
    assert error < 3 < without  # mm


def test_fitted_motion_is_as_calm_as_the_true_one(performance):
    _, _, frames, actions, _, found = performance

    def jitter(values):
        return np.abs(np.diff(np.asarray(values), 2, axis=0)).mean()

    assert jitter(found.frames[:, HEAD_TURN]) < 2 * jitter(frames[:, HEAD_TURN])
    assert jitter(found.expression) < 2 * jitter(actions)


def test_gaps_are_crossed(performance):
    marks, _, _, _, track, whole = performance
    score, face = track.face_score.copy(), track.face.copy()
    score[[0, 1, 8, 9, 10, 11]] = 0
    face[score == 0] = np.nan
    part = dataclasses.replace(track, face=face, face_score=score)
    fields = {field.name: getattr(part, field.name) for field in dataclasses.fields(part)}
    part = type(track)(**{name: value if name == "image_size" else value[:18] for name, value in fields.items()})
    found = fit_video(part, marks)
    assert np.isnan(found.error[score[:18] == 0]).all() and np.isfinite(found.error[12:]).all()
    assert np.isfinite(found.frames).all() and np.isfinite(found.expression).all()
    assert np.abs(found.frames[8:12, TURNS] - whole.frames[8:12, TURNS]).max() < 0.25


@pytest.mark.parametrize("count", [1, 999, 1000, 1001, 2050])
def test_windows_cover_every_frame_once(count):
    kept = np.concatenate([np.arange(count)[rows][part] for rows, part in windows(count)])
    np.testing.assert_array_equal(kept, np.arange(count))


def test_gaps_longer_than_a_window_are_crossed(performance, monkeypatch):
    marks, _, _, _, track, whole = performance
    monkeypatch.setattr(video, "WINDOW", 6)
    monkeypatch.setattr(video, "MARGIN", 2)
    score, face = track.face_score.copy(), track.face.copy()
    score[8:28] = 0
    face[score == 0] = np.nan
    found = fit_video(dataclasses.replace(track, face=face, face_score=score), marks)
    across = np.linspace(found.frames[9], found.frames[26], 18)
    np.testing.assert_allclose(found.frames[9:27], across, rtol=0, atol=1e-9)
    assert np.abs(found.frames[:8, TURNS] - whole.frames[:8, TURNS]).max() < 0.25


def test_an_outlier_pulls_no_harder_than_huber_lets_it():
    marks, (shape, frames, actions) = made_landmarks(), make_performance(2)
    track = made_track(marks, shape, frames, actions)
    clean = observed(track, marks)
    wrong = clean._replace(pixels=clean.pixels.clone())
    wrong.pixels[:, 40] += 200.0
    fits = [fit_frames(marks.points, seen, shape, frames, actions) for seen in (clean, wrong)]
    assert HUBER < 4
    assert degrees_between(*(head_before_camera(fit.frames) for fit in fits)).max() < 0.5


def test_a_person_is_found_from_frames_in_any_order():
    marks, (shape, frames, actions) = made_landmarks(), make_performance(4)
    seen = observed(made_track(marks, shape, frames, actions, noise=0.3), marks)
    start, still = first_guess(marks.points, seen, priors().shape_mean)
    order = torch.arange(3, -1, -1)
    one = fit_person(marks.points, seen, start, still, steps=5)
    other = fit_person(marks.points, seen.rows(order), start[order], still[order], steps=5)
    torch.testing.assert_close(one.shape, other.shape, rtol=0, atol=1e-6)  # sums in another order
    assert torch.corrcoef(torch.stack([one.shape, shape]))[0, 1] > 0.6


def test_frames_of_a_person_are_spread_over_head_turns():
    _, frames, _ = make_performance(36)
    chosen = spread_out(frames, 5)
    turns = frames[chosen, HEAD_TURN.start + 1]
    assert len(chosen) == 5 and turns.max() - turns.min() > 0.4
    assert len(spread_out(frames[:3], 5)) == 3


def test_expressions_are_the_actions_that_were_fitted():
    found = expressions(torch.full((2, 52), 0.4, dtype=torch.float64))
    assert found.shape == (2, 64) and found[:, 52:].eq(0).all() and found[:, :52].eq(0.4).all()


def test_shoulders_never_sink_below_their_rest(performance):
    _, _, frames, _, _, found = performance
    left, right = found.frames[:, COLLARS.start], -found.frames[:, COLLARS.start + 2]
    assert min(left.min(), right.min()) == 0 and (left == 0).mean() > 0.2
    assert left.argmax() == pytest.approx(int(frames[:, COLLARS.start].argmax()), abs=3)


def test_made_tracks_show_what_they_say():
    marks, (shape, frames, actions) = made_landmarks(), make_performance(2)
    track = made_track(marks, shape, frames, actions)
    pixels = made_pixels(marks, shape, frames, actions)
    torch.testing.assert_close(observed(track, marks).pixels, pixels, rtol=0, atol=1e-4)  # float32


def test_a_live_fit_follows(performance):
    marks, _, _, actions, track, _ = performance
    live, found = LiveFit(marks), []
    for i in range(20):
        rows = (track.face, track.face_score, track.pose, track.pose_world, track.pose_visibility)
        found.append(live.step(Sighting(*(row[i] for row in rows)), track.image_size, track.seconds[i]))
    assert correlation([pose.expression for pose in found], actions[:20], "eyeBlinkLeft") > 0.8
    assert all(np.abs(pose.joint_eulers).max() < 1 and np.abs(pose.camera - math.pi / 2).max() < 0.5 for pose in found)
    nothing = Sighting(track.face[0] * np.nan, 0.0, track.pose[0] * np.nan, track.pose[0] * np.nan, np.zeros(33))
    assert live.step(nothing, track.image_size, 1.0) is None
