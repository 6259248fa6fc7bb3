"""Keyframes from videos of drawn people whose landmarks are known, so that no detector is needed."""

import argparse
import math
from unittest.mock import patch

import numpy as np
import pytest
from PIL import Image

from inference import from_video
from inference.check_video import MeshOverlay
from inference.from_video import at_rate
from inference.keyframes import load_file
from networks.person.fitting.video import fit_video
from networks.person.tracker.follow import track
from tests.networks.person.fitting.drawn_photos import KnowingTracker, draw_photo, known_people, write_video
from tests.networks.person.fitting.made_tracks import made_landmarks
from torch_utils.misc import UserError
from torch_utils.video_reader import Frame


@pytest.fixture(autouse=True)
def _known_people():
    with known_people():
        yield


def run(*words):
    parser = argparse.ArgumentParser()
    from_video.add_arguments(parser)
    from_video.run(parser.parse_args([*map(str, words), "--fps", "10", "--no_check"]))


def test_keyframes_of_a_video(tmp_path, capsys):
    write_video(tmp_path / "me.mp4", frames=6, gap=range(2, 4))
    run(tmp_path / "me.mp4", "--out", tmp_path / "me", "--plot")
    expression, pose, camera = (
        load_file(tmp_path / "me" / name, kind)
        for name, kind in (("expression.npz", "expression"), ("pose.npy", "pose"), ("camera.npy", "camera"))
    )
    assert expression.face_model == "arkit" and len(expression.rows) == len(pose.rows) == len(camera.rows) == 6
    assert expression.rows.min() >= 0 and expression.rows.max() <= 1 and (expression.rows[:, 52:] == 0).all()
    truth = draw_photo(0).truth
    turn = pose.rows[:, [0, 3], 1].sum(1) + camera.rows[:, 1]  # of the head before the camera
    assert np.abs(np.degrees(turn - truth.eulers[[0, 3], 1].sum() - truth.camera[1])).max() < 6
    printed = capsys.readouterr().out
    assert "6 frames, 0.6 s at 10 a second" in printed
    assert "no face in 2 frames, interpolated: 0.20 to 0.40 s" in printed
    assert "gen_video.py --exp_path" in printed
    assert (tmp_path / "me/plot.png").stat().st_size > 1000


def test_a_video_of_nobody_is_one_line(tmp_path):
    write_video(tmp_path / "me.mp4", frames=3, gap=range(3))
    with pytest.raises(UserError, match=r"me.mp4: no face in any of 3 pictures"):
        run(tmp_path / "me.mp4", "--out", tmp_path / "me")
    assert not (tmp_path / "me").exists()


@pytest.mark.parametrize("content", [b"", b"no video at all"])
def test_what_is_no_video_is_one_line(content, tmp_path):
    (tmp_path / "me.mp4").write_bytes(content)
    with pytest.raises(UserError, match=r"me.mp4"):
        run(tmp_path / "me.mp4", "--out", tmp_path / "me")


def test_at_rate_shows_what_is_on_the_screen():
    frames = [Frame(seconds, np.array([number])) for number, seconds in enumerate((0.0, 0.5, 0.6, 1.0))]
    shown = list(at_rate(frames, 4, "me"))
    assert [frame.seconds for frame in shown] == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert [frame.image.item() for frame in shown] == [0, 0, 1, 2, 3]
    assert list(at_rate([], 4, "me")) == []


def test_the_mesh_covers_the_face():
    photo = draw_photo(0)
    with patch("networks.person.tracker.follow.Tracker", KnowingTracker):
        seen = track([Frame(0.0, photo.image)])
    found = fit_video(seen, made_landmarks())
    overlay = MeshOverlay(found.seen)
    drawn = np.asarray(overlay(Image.fromarray(photo.image), found.frames[0], found.expression[0], 1.0), int)
    changed = np.abs(drawn - photo.image).sum(-1) > 8
    face = photo.sighting.face[made_landmarks().face, :2].round().astype(int)
    assert changed[face[:, 1], face[:, 0]].mean() > 0.9
    assert changed[photo.mask == 0].mean() < 0.1
    assert math.isfinite(found.error[0])
