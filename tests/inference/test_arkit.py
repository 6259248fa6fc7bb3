"""Recordings by ARKit: what is read, what is refused, and the keyframes made of them."""

import io
import math
import shlex

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from inference import from_arkit, keyframes
from inference.arkit import read_take
from inference.keyframes import load_expressions, load_file, load_keyframes
from networks.person.open_body.actions import ACTIONS
from tests.inference.recordings import HEAD, ORDER, make_rows, text, write
from torch_utils.misc import CliParser, UserError

JAW = ACTIONS.index("jawOpen")


def read(rows):
    return read_take(io.BytesIO(text(rows).encode()), "take.csv")


def run(*argv) -> None:
    parser = CliParser()
    from_arkit.add_arguments(parser)
    from_arkit.run(parser.parse_args([str(word) for word in argv]))


# ---- reading ---------------------------------------------------------------------------------------------------------


def test_columns_go_by_their_names():
    take = read(make_rows(head=(0.1, 0.2, 0.3)))
    assert take.expression.shape == (5, 64) and take.known.all() and not take.expression[:, 52:].any()
    np.testing.assert_allclose(take.expression[:, JAW], [0, 0.1, 0.2, 0.3, 0.4])
    for name in ("jawLeft", "jawRight", "mouthLeft", "tongueOut"):
        expected = (ORDER.index(name[0].upper() + name[1:]) + 1) / 1000
        np.testing.assert_allclose(take.expression[:, ACTIONS.index(name)], expected)
    np.testing.assert_allclose(take.head, [[0.1, 0.2, 0.3]] * 5)
    np.testing.assert_allclose(take.seconds, np.arange(5) / 60)


def test_other_recorders(tmp_path):
    """Apple's spelling, another order, no head, seconds, columns of the recorder's own, Windows' line ends and mark."""
    header = ["time", *reversed(ACTIONS), "note"]
    lines = [",".join(header), *(",".join([f"{t}", *["0.25"] * 52, "x"]) for t in (10.0, 10.5))]
    take = read_take(io.BytesIO(("\ufeff" + "\r\n".join(lines)).encode()), "other.csv")
    assert take.head is None and take.seconds.tolist() == [0, 0.5] and (take.expression[:, :52] == 0.25).all()
    timeless = read([row[2:] for row in make_rows()])
    assert timeless.seconds is None and len(timeless.known) == 5


def test_moments_without_a_face():
    rows = make_rows()
    rows[2] = [rows[2][0], "0"]  # as the app writes it
    rows[3][2:] = [""] * (len(rows[3]) - 2)
    take = read(rows)
    assert take.known.tolist() == [True, False, False, True, True] and not take.expression[1].any()


def test_values_a_little_outside_are_clipped():
    rows = make_rows()
    rows[1][2], rows[2][2] = "-0.05", "1.2"
    assert read(rows).expression[:2, 0].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("codes", "seconds"),
    [
        (["09:59:59:29", "10:00:00:00", "10:00:00:15", "10:00:01:00"], [0, 1 / 30, 16 / 30, 31 / 30]),
        (["23:59:59:59", "00:00:00:00", "00:00:00:30", "00:00:01:00"], [0, 1 / 60, 31 / 60, 61 / 60]),
        (["10:00:00:00", "10:00:00:00", "10:00:00:01", "10:00:00:02"], [0, 0, 1 / 60, 2 / 60]),
        (["10:00:00.25", "10:00:00.50", "10:00:01.00", "10:01:00.00"], [0, 0.25, 0.75, 59.75]),
        (["-1.5", "0", "1e1", "20"], [0, 1.5, 11.5, 21.5]),
    ],
)
def test_times(codes, seconds):
    rows = make_rows(4)
    for row, code in zip(rows[1:], codes, strict=True):
        row[0] = code
    np.testing.assert_allclose(read(rows).seconds, seconds, atol=1e-9)


def changed(line, column, value):
    rows = make_rows()
    rows[line][rows[0].index(column)] = value
    return rows


BAD = {
    "no face": (
        lambda: [row if i == 0 else [row[0], "0"] for i, row in enumerate(make_rows())],
        "expected frames with a",
    ),
    "missing": (lambda: changed(0, "JawOpen", "JawOpn"), "found no jawOpen; not known: JawOpn"),
    "half a head": (lambda: changed(0, "HeadRoll", "Tilt"), "found no HeadRoll; not known: Tilt"),
    "twice": (lambda: changed(0, "JawOpen", "EyeBlinkLeft"), "expected one column EyeBlinkLeft, found two"),
    "percent": (lambda: changed(2, "JawOpen", "87.5"), r"jawOpen in line 3: expected 0..1, found 87.5 \(a percentage"),
    "negative": (lambda: changed(2, "JawOpen", "-3"), "jawOpen in line 3: expected 0..1, found -3$"),
    "nan": (lambda: changed(3, "JawOpen", "nan"), "JawOpen in line 4: expected a number, found 'nan'"),
    "empty": (lambda: changed(3, "JawOpen", ""), "JawOpen in line 4: expected a number, found nothing"),
    "infinite": (lambda: changed(3, "HeadYaw", "inf"), "HeadYaw in line 4: expected a number, found 'inf'"),
    "order": (
        lambda: changed(4, "Timecode", "14:03:51:00"),
        "times in order, found 14:03:51:00 in line 5 after 14:03:52:02.500",
    ),
    "time": (lambda: changed(2, "Timecode", "noon"), "time in line 3: expected HH:MM:SS:FF or seconds throughout"),
    "no rows": (lambda: make_rows()[:1], "expected a header and a row for every frame, found 1 lines"),
    "too long": (lambda: [*make_rows(), make_rows()[1] + ["0"]], "line 7: expected 63 columns, found 64"),
    "another table": (lambda: [["a", "b"], ["1", "2"]], "found no eyeBlinkLeft, eyeLookDownLeft"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_recordings_are_named(case):
    rows, message = BAD[case]
    with pytest.raises(UserError, match=message) as info:
        read(rows())
    assert str(info.value).startswith("take.csv: ") and "\n" not in str(info.value)


def test_files_that_are_no_tables(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"\x93NUMPY\x00\xff\xfe")
    with pytest.raises(UserError, match=r"a.csv: expected a CSV table of facial actions, found something else"):
        load_keyframes(tmp_path / "a.csv", "expression")
    with pytest.raises(UserError, match=r"no.csv: no such expression keyframe file"):
        load_keyframes(tmp_path / "no.csv", "expression")


# ---- as keyframes ----------------------------------------------------------------------------------------------------


def test_a_recording_is_expression_keyframes(tmp_path):
    rows = make_rows()
    rows[3] = [rows[3][0], "0"]
    path = write(tmp_path / "take.csv", rows)
    file = load_file(path, "expression")
    assert file.face_model == "arkit" and file.rows.shape == (5, 64)
    np.testing.assert_allclose(file.rows[:, JAW], [0, 0.1, 0.2, 0.3, 0.4])  # the third was filled
    with pytest.raises(
        UserError, match="take.csv: expected expressions of the checkpoint's face model, basel, found arkit"
    ):
        load_expressions(path, "basel")
    with pytest.raises(UserError, match="take.csv: pose keyframes: expected shape"):
        load_keyframes(path, "pose")


def test_keyframes_follow_the_times(tmp_path, capsys):
    """60 rows a second -> 30 frames a second, every other row; one row was dropped."""
    rows = make_rows(9, head=(0.3, 0.0, 0.0))
    del rows[5]
    out = tmp_path / "my take"
    run(write(tmp_path / "take.csv", rows), "--out", out, "--smooth", 0)
    expression, pose = load_expressions(out / "expression.npz", "arkit"), load_keyframes(out / "pose.npy", "pose")
    np.testing.assert_allclose(expression[:, JAW], [0, 0.2, 0.4, 0.6, 0.8], atol=1e-6)
    # Neck and head share the turn to the person's left.
    np.testing.assert_allclose(pose[:, 0, 1], 0.12, atol=1e-6)
    np.testing.assert_allclose(pose[:, 3, 1], 0.18, atol=1e-6)
    assert not pose[:, [1, 2, 4, 5]].any()
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "8 rows, 0.2 s by its times: 5 frames"
    assert shlex.split(printed[-1]) == [
        "python", "gen_video.py", "--exp_path", f"{out}/expression.npz", "--pose_path", f"{out}/pose.npy",
        "--cam_yaw_range", "0", "--n_interval", "1", "--fps", "30",
    ]  # fmt: skip
    with Image.open(out / "plot.png") as plot:
        assert plot.size == (1200, 2 * 170)


@pytest.mark.parametrize(
    ("angles", "axis"),
    [((0.2, 0, 0), (0, 0.2, 0)), ((0, 0.2, 0), (-0.2, 0, 0)), ((0, 0, 0.2), (0, 0, 0.2))],
    ids=["left is +y", "up is -x", "a tilt to the right is +z"],
)
def test_head_angles(tmp_path, angles, axis):
    for options, factor, sign in (
        ([], 1, 1),
        (["--degrees"], 180 / math.pi, 1),
        (["--invert", *from_arkit.AXES], 1, -1),
    ):
        rows = make_rows(3, head=np.multiply(angles, factor))
        run(write(tmp_path / "take.csv", rows), "--out", tmp_path, "--fps", 60, *options)
        pose = load_keyframes(tmp_path / "pose.npy", "pose")
        turned = Rotation.from_euler("ZYX", pose[1, 0]) * Rotation.from_euler("ZYX", pose[1, 3])
        np.testing.assert_allclose(turned.as_rotvec(), sign * np.array(axis), atol=1e-6)  # written in float32


def test_a_phone_below_the_face(tmp_path):
    """--level: a head that swings about a tilted mean swings about straight ahead."""
    mean, swing = Rotation.from_euler("YXZ", [0.1, -0.3, 0.05]), 0.2 * np.sin(np.arange(60) * 2 * np.pi / 60)
    swings = Rotation.from_rotvec(swing[:, None] * [0, 1, 0])
    rows = make_rows(60)
    for row, (yaw, pitch, roll) in zip(rows[1:], (mean * swings).as_euler("YXZ"), strict=True):
        row[3 + 51 : 3 + 54] = [f"{yaw:.9f}", f"{-pitch:.9f}", f"{roll:.9f}"]
        row[2 + ORDER.index("JawOpen")] = "0"
    assert rows[0][54:57] == HEAD
    run(write(tmp_path / "take.csv", rows), "--out", tmp_path, "--fps", 60, "--smooth", 0, "--level")
    pose = load_keyframes(tmp_path / "pose.npy", "pose")
    np.testing.assert_allclose(pose[:, 0, 1] + pose[:, 3, 1], swing, atol=1e-5)
    np.testing.assert_allclose(pose[:, [0, 3]][:, :, [0, 2]], 0, atol=1e-5)


def test_what_is_missing_is_said(tmp_path, capsys):
    rows = [[*row[:1], *row[1:54]] for row in make_rows(60)]  # no head
    for row in rows[20:45]:
        row[1] = "0"
    rows = [row if i == 0 else [*row[:2], *(["0.5"] * 52 if row[1] != "0" else [])] for i, row in enumerate(rows)]
    run(write(tmp_path / "take.csv", rows), "--out", tmp_path / "out")
    printed = capsys.readouterr().out
    assert "no face in 25 rows, interpolated\nno face from 0.3 to 0.7 s\n" in printed
    assert "no columns HeadYaw, HeadPitch, HeadRoll: the head stays as it is\n" in printed
    assert "--pose_path" not in printed and not (tmp_path / "out/pose.npy").exists()
    timeless = [row[2:] for row in make_rows(11)]
    for row in timeless[1:]:
        row[ORDER.index("JawOpen")] = "0.5"
    run(write(tmp_path / "take.csv", timeless), "--out", tmp_path / "out", "--rate", 10, "--fps", 5)
    assert "11 rows, 1.2 s at 10 rows a second, as it has no times: 6 frames" in capsys.readouterr().out


def test_bad_options_are_named(tmp_path):
    path = write(tmp_path / "take.csv", make_rows(head=(35.0, 0, 0)))
    with pytest.raises(
        UserError, match=r"take.csv: expected head angles in radians \(--degrees if .*found HeadYaw 35$"
    ):
        run(path, "--out", tmp_path)
    with pytest.raises(UserError, match="no.csv: no such recording file"):
        run(tmp_path / "no.csv", "--out", tmp_path)
    with pytest.raises(UserError, match="--fps: expected a number from 1 to 240, found 0"):
        run(path, "--out", tmp_path, "--fps", 0)
    assert not list(tmp_path.glob("*.np?"))


def test_both_programs_are_commands(tmp_path, capsys, monkeypatch):
    path = write(tmp_path / "take.csv", make_rows())
    monkeypatch.setattr("sys.argv", ["keyframes", "from-arkit", path, "--out", str(tmp_path)])
    keyframes.main()
    assert "gen_video.py" in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", ["keyframes", "from-coeffs", "--help"])
    with pytest.raises(SystemExit):
        keyframes.main()
    assert "--smpl FITS" in capsys.readouterr().out
