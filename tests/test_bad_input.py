"""Everything that can be wrong with a command line: one line, exit code 2, and nothing half-written."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import gen_video
from torch_utils.misc import run_cli

ROOT = Path(__file__).resolve().parents[1]


# Arguments ({dir} is a folder with the files of `bad_files`) and a part of what must be said.
BAD_INPUT = {
    "missing keyframes": ("--exp_path {dir}/no.npy", "{dir}/no.npy: no such expression keyframe file"),
    "shape": ("--exp_path {dir}/wide.npy", "{dir}/wide.npy: expression keyframes: expected shape [N,64]"),
    "dtype": ("--exp_path {dir}/text.npy", "{dir}/text.npy: expression keyframes: expected numbers, found dtype <U1"),
    "device file": (
        "--exp_path /dev/zero",
        "/dev/zero: expression keyframe: expected a regular file, found a device or pipe",
    ),
    "long line": ("--speed " + 5000 * "x", "xx ... xx"),
    "nan": ("--pose_path {dir}/nan.npy", "{dir}/nan.npy: pose keyframes: expected finite numbers, found nan"),
    "empty": ("--cam_path {dir}/none.npy", "{dir}/none.npy: camera keyframes: expected at least one keyframe"),
    "lengths": ("--exp_path {dir}/e.npy --pose_path {dir}/p4.npy", "{dir}/e.npy has 3, {dir}/p4.npy has 4; rule: "),
    "seeds": ("--seeds a-b", "--seeds: expected whole numbers and rising ranges like 0-3,7, found 'a-b'"),
    "negative seed": ("--seeds -1", "--seeds: expected whole numbers and rising ranges like 0-3,7, found '-1'"),
    "fps 0": ("--fps 0", "--fps: expected a number from 0.1 to 240 for mp4, found 0"),
    "fps -3": ("--fps -3", "--fps: expected a number from 0.1 to 240 for mp4, found -3"),
    "fps text": ("--fps fast", "argument --fps: invalid float value: 'fast'"),
    "ext": ("--ext avi", "--ext: expected one of mp4, gif, png, found 'avi'"),
    "length 0": ("--video_length 0", "--video_length: expected a whole number from 1 to 1000000, found 0"),
    "length -5": ("--video_length -5", "--video_length: expected a whole number from 1 to 1000000, found -5"),
    "interval": ("--n_interval 0", "--n_interval: expected a whole number from 1 to 10000, found 0"),
    "cycle": ("--cam_cycle 0", "--cam_cycle: expected a whole number from 1 to 1000000, found 0"),
    "seeds_interval": ("--seeds_interval -1", "--seeds_interval: expected a whole number from 0 to 10000, found -1"),
    "one seed": ("--seeds_interval 5 --seeds 1", "--seeds_interval: expected at least two --seeds to blend between"),
    "blended grid": ("--seeds_interval 5 --grid", "--seeds_interval: expected without --grid"),
    "psi": ("--psi nan", "--psi: expected a number from 0 to 2, found nan"),
    "yaw range": ("--cam_yaw_range 9", "--cam_yaw_range: expected a number from 0 to 3.14159, found 9"),
    "small grid": ("--grid 1x1", "--grid: expected RxC with at least 2 cells (one for each seed), found '1x1'"),
    "zero grid": ("--grid 0x2", "--grid: expected RxC with at least 2 cells (one for each seed), found '0x2'"),
    "grid text": ("--grid big", "--grid: expected RxC with at least 2 cells (one for each seed), found 'big'"),
    "device": ("--device gpu", "--device: expected auto, cpu, cuda or cuda:N, found 'gpu'"),
    "cuda": ("--device cuda", "--device cuda: expected a CUDA device, found none on this machine"),
    "folder": (
        "--output_dir {dir}/file/x",
        "--output_dir {dir}/file/x: expected a folder to write to, found: Not a dir",
    ),
    "folder is a file": (
        "--output_dir {dir}/file",
        "--output_dir {dir}/file: expected a folder to write to, found: File",
    ),
    "unknown flag": ("--speed 3", "unrecognized arguments: --speed 3"),
    "half a flag": ("--video_len 3", "unrecognized arguments: --video_len 3"),
    "missing checkpoint": ("--ckpt {dir}/no.pt", "{dir}/no.pt: no such checkpoint file"),
    "long name": ("--ckpt " + 300 * "x", "cannot be read: File name too long"),
    "truncated checkpoint": ("--ckpt {dir}/half.pt", "{dir}/half.pt: truncated or damaged checkpoint"),
    "code in checkpoint": ("--ckpt {dir}/code.pt", "{dir}/code.pt: expected tensors and plain data, found a pickle"),
    "other checkpoint": ("--ckpt {dir}/other.pt", "{dir}/other.pt: expected a checkpoint of this project"),
}


def bad_files(folder):
    """The files that BAD_INPUT speaks of."""
    np.save(folder / "e.npy", np.zeros((3, 64)))
    np.save(folder / "wide.npy", np.zeros((3, 65)))
    np.save(folder / "text.npy", np.full((3, 64), "a"))
    np.save(folder / "nan.npy", np.full((3, 6, 3), np.nan))
    np.save(folder / "none.npy", np.zeros((0, 2)))
    np.save(folder / "p4.npy", np.zeros((4, 6, 3)))
    (folder / "file").write_text("")
    torch.save({"weights": torch.zeros(100)}, folder / "other.pt")
    (folder / "half.pt").write_bytes((folder / "other.pt").read_bytes()[:600])
    torch.save({"a": os.system}, folder / "code.pt")


def check_complaint(folder, err, code, expected):
    assert code == 2
    assert err.startswith("error: ") and err.endswith("\n") and err.count("\n") == 1, err
    assert expected.format(dir=folder) in err
    assert not list(folder.rglob("*.mp4")) and not list(folder.rglob("*partial*"))


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_is_one_line_and_exit_code_2(tmp_path, monkeypatch, capsys, case):
    bad_files(tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    words, expected = BAD_INPUT[case]
    argv = ["--output_dir", str(tmp_path / "out"), *(word.format(dir=tmp_path) for word in words.split())]
    with pytest.raises(SystemExit) as exit_info:
        run_cli(lambda: gen_video.main(argv))
    check_complaint(tmp_path, capsys.readouterr().err, exit_info.value.code, expected)


@pytest.mark.parametrize("case", ["lengths", "fps text", "code in checkpoint"])
def test_bad_input_from_a_shell(tmp_path, case):
    bad_files(tmp_path)
    words, expected = BAD_INPUT[case]
    argv = [word.format(dir=tmp_path) for word in words.split()]
    done = subprocess.run(
        [sys.executable, str(ROOT / "gen_video.py"), *argv], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.stdout == ""
    check_complaint(tmp_path, done.stderr, done.returncode, expected)


def test_missing_ffmpeg(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / "nowhere"))
    with pytest.raises(SystemExit) as exit_info:
        run_cli(lambda: gen_video.main(["--output_dir", str(tmp_path / "out")]))
    check_complaint(tmp_path, capsys.readouterr().err, exit_info.value.code, "--ext mp4 needs ffmpeg")
