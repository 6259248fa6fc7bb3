"""What the viewer's sliders move, and the command that opens the page."""

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from math import radians
from pathlib import Path

import numpy as np
import pytest

from inference.keyframes import make_motion
from inference.viewer.__main__ import listen, main, page_url
from inference.viewer.controls import NAMED_EXPRESSIONS, make_groups, motion_rows, rest_row
from networks.person.controls import Controls
from networks.person.expressions import ARKIT, BASEL, FACE_MODELS, expression
from networks.person.open_body.actions import ACTIONS
from networks.saved_model import pack_model
from tests.inference.viewer_server import make_model
from tests.test_shipped_keyframes import make_module
from torch_utils.checkpoint import save_checkpoint
from torch_utils.misc import run_cli

ROOT = Path(__file__).resolve().parents[2]


def sliders(face_model):
    groups = make_groups(face_model)
    return {f"{group.title}: {slider.label}": slider for group in groups for slider in (*group.sliders, *group.rest)}


SLIDERS = sliders(ARKIT)
REST = rest_row()


def moved(name: str, amount: float) -> np.ndarray:
    """The controls when one slider was moved from rest."""
    row = np.array(REST)
    for i, weight in SLIDERS[name].moves.items():
        row[i] += amount * weight
    return row


@pytest.mark.parametrize("name", SLIDERS)
def test_a_slider_stands_where_it_was_moved_to(name):
    slider = SLIDERS[name]
    row = moved(name, 0.7) - REST
    # Numbers are doubles, and their factors a handful.
    assert sum(weight * row[i] for i, weight in slider.reads.items()) == pytest.approx(0.7, rel=1e-12)
    assert slider.low <= 0 < slider.high and all(0 <= i < 84 for i in (*slider.moves, *slider.reads))


@pytest.mark.parametrize("face_model", [None, *FACE_MODELS])
def test_all_controls_can_be_reached(face_model):
    assert {i for slider in sliders(face_model).values() for i in slider.moves} == set(range(84))


def as_row(expression=None, pose=None, camera=None) -> np.ndarray:
    pose = np.zeros((6, 3)) if pose is None else pose
    camera = np.full(2, np.pi / 2) if camera is None else np.array(camera)
    return np.concatenate([np.zeros(64) if expression is None else expression, pose.ravel(), camera])


def test_every_action_has_a_slider_of_its_name():
    groups = {group.title: [slider.label for slider in group.sliders] for group in make_groups(ARKIT)}
    singles = ("Eyes", "Brows", "Mouth", "Jaw", "Cheeks and nose", "Tongue")
    assert sorted(label for title in singles for label in groups[title]) == sorted(ACTIONS)
    for title in singles:
        for label in groups[title]:
            expected = as_row(expression=expression(**{label: 0.6}))
            assert moved(f"{title}: {label}", 0.6) == pytest.approx(expected, abs=1e-12)
    assert len(make_groups(ARKIT)[0].rest) == 64 - 52


def test_everyday_words_move_both_sides():
    for label, parts in NAMED_EXPRESSIONS.items():
        expected = as_row(expression=expression(**dict.fromkeys(parts, 0.6)))
        assert moved(f"Expression: {label}", 0.6) == pytest.approx(expected, abs=1e-12)
    for left in ("eyeLookOutLeft", "eyeLookInRight"):  # both eyes to the person's left
        assert moved("Expression: Look left", 1)[ACTIONS.index(left)] == 1


def test_other_face_models_have_no_names_of_actions():
    for other in (BASEL, "embedded"):
        assert [group.title for group in make_groups(other)] == ["Expression", "Head", "Shoulders", "Camera"]
        assert [slider.label for slider in make_groups(other)[0].sliders] == [str(i) for i in range(64)]


def test_poses_are_those_of_the_shipped_keyframes():
    make, a = make_module().pose, radians(10)
    expected = {
        "Head: Yaw": make(turn=a), "Head: Pitch": make(nod=a), "Head: Roll": make(tilt=a),
        "Shoulders: Left up": make(lift=(a, 0)), "Shoulders: Right up": make(lift=(0, a)),
        "Shoulders: Left forward": make(forward=(a, 0)), "Shoulders: Right forward": make(forward=(0, a)),
    }  # fmt: skip
    for name, pose in expected.items():
        assert moved(name, 10) == pytest.approx(as_row(pose=pose), abs=1e-12)


def test_the_camera_moves_as_named():
    """A smaller pitch looks from above, a smaller yaw from the person's left (keyframes/README.md)."""
    front = np.pi / 2
    assert moved("Camera: Pitch", 10) == pytest.approx(as_row(camera=(front - radians(10), front)), abs=1e-12)
    assert moved("Camera: Yaw", 10) == pytest.approx(as_row(camera=(front, front - radians(10))), abs=1e-12)


def test_rows_of_a_motion():
    pose = np.arange(36.0).reshape(2, 6, 3) / 100
    rows = motion_rows(make_motion(np.full((2, 64), 0.5), pose, np.full((2, 2), 1.25)))
    assert rows.dtype == np.float32 and rows.shape == (2, 84)
    assert (rows[:, :64] == 0.5).all() and (rows[:, 82:] == 1.25).all()
    assert np.array_equal(rows[1, 64:82], np.arange(18, 36, dtype=np.float32) / 100)


# ---- the command --------------------------------------------------------------------------------------------------

BAD_INPUT = {
    "port": ("--port 70000", "--port: expected a whole number from 0 to 65535, found 70000"),
    "host": ("--host 203.0.113.1", "--host 203.0.113.1 --port 8765: cannot listen there: "),
    "long host": (f"--host {'x' * 70}", "cannot listen there: no such host"),
    "checkpoint": ("--port 0 --ckpt no.pt", "no.pt: no such checkpoint file"),
    "device": ("--device gpu", "--device: expected auto, cpu, cuda or cuda:N, found 'gpu'"),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_is_one_line_and_exit_code_2(capsys, case):
    words, expected = BAD_INPUT[case]
    with pytest.raises(SystemExit) as info:
        run_cli(lambda: main(["--no_browser", *words.split()]))
    err = capsys.readouterr().err
    assert info.value.code == 2 and err.startswith("error: ") and err.count("\n") == 1 and expected in err, err


def test_a_port_that_is_taken(capsys):
    with listen("127.0.0.1", 0) as taken, pytest.raises(SystemExit):
        run_cli(lambda: main(["--no_browser", "--port", str(taken.getsockname()[1])]))
    assert capsys.readouterr().err.endswith("cannot listen there: Address already in use\n")


def test_addresses_for_a_browser():
    with listen("0.0.0.0", 0) as everywhere:
        assert page_url(everywhere) == f"http://127.0.0.1:{everywhere.getsockname()[1]}/"
    if socket.has_ipv6:
        with listen("::1", 0) as here:
            assert page_url(here) == f"http://[::1]:{here.getsockname()[1]}/"


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C cannot be sent to a process there")
def test_the_command_serves_until_ctrl_c(tmp_path):
    save_checkpoint(tmp_path / "tiny", pack_model(make_model()))
    command = [sys.executable, "-m", "inference.viewer", "--no_browser", "--port", "0", "--device", "cpu"]
    with subprocess.Popen(
        [*command, "--ckpt", str(tmp_path / "tiny")], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    ) as process:  # fmt: skip
        url = process.stdout.readline().split()[0]
        with urllib.request.urlopen(url, timeout=60) as response:
            assert b"<canvas" in response.read()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "", "")


def test_what_a_model_lacks_is_shown_disabled():
    groups = {group.title: group for group in make_groups(None, Controls(False, False, True))}
    assert list(groups) == ["Expression", "Head", "Shoulders", "Camera"]
    assert groups["Expression"].disabled == "This model has no expressions." and not groups["Expression"].open
    assert groups["Shoulders"].disabled and not groups["Shoulders"].rest and not groups["Head"].disabled
    assert groups["Camera"].sliders[0].high == 180  # all round
    assert groups["Expression"].plain()["disabled"]
    assert not any(group.disabled for group in make_groups(ARKIT))
