"""Video files: what goes in comes out, whole or not at all."""

import os
import resource
import signal
import socket
import subprocess
import sys
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
import torch
from PIL import Image

from inference.ffmpeg import count_frames
from inference.video import (
    DEPTH_FAR,
    DEPTH_NEAR,
    check_writer,
    depth_to_uint8,
    grid_shape,
    open_writer,
    tile,
)
from torch_utils.misc import UserError, remove_stale
from torch_utils.pixels import image_to_uint8

ROOT = Path(__file__).resolve().parents[2]


def make_frames(n, size=(48, 64), seed=0):
    """Smooth moving colours, as a codec likes them."""
    y, x = np.mgrid[0 : size[0], 0 : size[1]] / max(size)
    phases = np.random.default_rng(seed).uniform(0, 6, 3)
    waves = [[np.sin(4 * x + 3 * y + p + 0.4 * i) for p in phases] for i in range(n)]
    return [(np.stack(wave, -1) * 100 + 128).astype(np.uint8) for wave in waves]


def write(stem, ext, frames, fps=20):
    with open_writer(stem, ext, fps) as writer:
        for frame in frames:
            writer.add(frame)
    return writer.paths


def read_mp4(path):
    reader = imageio_ffmpeg.read_frames(str(path))
    meta = next(reader)
    width, height = meta["size"]
    return meta, [np.frombuffer(data, np.uint8).reshape(height, width, 3) for data in reader]


def read_gif(path):
    with Image.open(path) as gif:
        frames, delays = [], []
        for i in range(gif.n_frames):
            gif.seek(i)
            frames.append(np.asarray(gif.convert("RGB")))
            delays.append(gif.info["duration"])
        return frames, delays, gif.info.get("loop")


# ---- pixels -------------------------------------------------------------------------------------------------------


def test_image_to_uint8():
    image = torch.tensor([-1.0, 0.0, 1.0, -3.0, 3.0, 1 / 255]).reshape(1, 1, 6).expand(3, 1, 6)
    pixels = image_to_uint8(image)
    assert pixels.shape == (1, 6, 3) and pixels.dtype == np.uint8
    assert pixels[0, :, 0].tolist() == [0, 128, 255, 0, 255, 128]


def test_image_channels_come_last_and_rows_stay():
    image = torch.full((3, 2, 4), -1.0)
    image[1, 0, 3] = 1.0
    expected = np.zeros((2, 4, 3), np.uint8)
    expected[0, 3, 1] = 255
    assert np.array_equal(image_to_uint8(image), expected)


def test_depth_to_uint8():
    middle = (DEPTH_NEAR + DEPTH_FAR) / 2
    depth = torch.tensor([[DEPTH_NEAR, middle, DEPTH_FAR, 0.0, float("nan"), 1.0, middle]])
    alpha = torch.tensor([[1.0, 1.0, 1.0, 0.0, 0.0, 1.0, 0.5]])
    pixels = depth_to_uint8(depth, alpha)
    assert pixels.shape == (1, 7, 3)
    assert pixels[0, :, 0].tolist() == [255, 128, 0, 0, 0, 255, 64]  # near is bright; nothing is black
    assert (pixels == pixels[..., :1]).all()


@pytest.mark.parametrize(
    ("n", "shape"), [(1, (1, 1)), (2, (1, 2)), (3, (2, 2)), (4, (2, 2)), (5, (2, 3)), (12, (3, 4))]
)
def test_grid_shape(n, shape):
    assert grid_shape(n) == shape


def test_tile():
    frames = [np.full((2, 3, 3), value, np.uint8) for value in (10, 20, 30)]
    canvas = tile(frames, 2, 2)
    assert canvas.shape == (4, 6, 3)
    assert (canvas[:2, :3] == 10).all() and (canvas[:2, 3:] == 20).all()
    assert (canvas[2:, :3] == 30).all() and (canvas[2:, 3:] == 255).all()  # the free cell is background
    assert (tile(frames, 2, 2, background=0)[2:, 3:] == 0).all()


# ---- files --------------------------------------------------------------------------------------------------------


def test_png_sequence_holds_the_exact_pixels(tmp_path):
    frames = make_frames(3)
    paths = write(tmp_path / "video_7_rgb", "png", frames)
    assert [path.name for path in paths] == [f"video_7_rgb_00{i}.png" for i in range(3)]
    assert sorted(os.listdir(tmp_path)) == [path.name for path in paths]
    for path, frame in zip(paths, frames, strict=True):
        assert np.array_equal(np.asarray(Image.open(path)), frame)


def test_png_bytes_are_the_same_every_time(tmp_path):
    first = [path.read_bytes() for path in write(tmp_path / "a", "png", make_frames(2))]
    again = [path.read_bytes() for path in write(tmp_path / "b", "png", make_frames(2))]
    assert first == again


def test_a_shorter_png_sequence_replaces_a_longer_one(tmp_path):
    write(tmp_path / "video_1_rgb", "png", make_frames(4))
    write(tmp_path / "video_11_rgb", "png", make_frames(1))
    (tmp_path / "video_1_rgb_notes.png").write_text("not a frame")
    write(tmp_path / "video_1_rgb", "png", make_frames(2))
    assert sorted(os.listdir(tmp_path)) == [
        "video_11_rgb_000.png",
        "video_1_rgb_000.png",
        "video_1_rgb_001.png",
        "video_1_rgb_notes.png",
    ]


@pytest.mark.parametrize("size", [(48, 64), (33, 47)])
def test_mp4(tmp_path, size):
    frames = make_frames(6, size)
    paths = write(tmp_path / "video_0_rgb", "mp4", frames, fps=12.5)
    assert paths == [tmp_path / "video_0_rgb.mp4"] and os.listdir(tmp_path) == ["video_0_rgb.mp4"]
    meta, decoded = read_mp4(paths[0])
    assert meta["fps"] == 12.5 and meta["codec"] == "h264" and meta["pix_fmt"].startswith("yuv420p")
    assert len(decoded) == 6
    assert decoded[0].shape[:2] == (size[0] + size[0] % 2, size[1] + size[1] % 2)  # padded to even
    for frame, original in zip(decoded, frames, strict=True):
        error = frame[: size[0], : size[1]].astype(float) - original
        assert np.abs(error).mean() < 4  # of 255: colour is stored at half resolution


@pytest.mark.parametrize(("ext", "fps"), [("mp4", 0.1), ("mp4", 240), ("gif", 0.1), ("gif", 50)])
def test_slowest_and_fastest(tmp_path, ext, fps):
    (path,) = write(tmp_path / "a", ext, make_frames(3), fps=fps)
    if ext == "mp4":
        meta, frames = read_mp4(path)
        assert meta["fps"] == pytest.approx(fps, rel=0.01) and len(frames) == 3
    else:
        frames, delays, _ = read_gif(path)
        assert len(frames) == 3 and delays == [1000 / fps] * 3


def test_gif_frames_speed_and_loop(tmp_path):
    frames = make_frames(5)
    frames[3] = frames[2]  # a pause must not shorten the video
    (path,) = write(tmp_path / "video_0_rgb", "gif", frames, fps=30)
    decoded, delays, loop = read_gif(path)
    assert len(decoded) == 5 and loop == 0
    assert delays == [30, 40, 30, 30, 40] and os.listdir(tmp_path) == ["video_0_rgb.gif"]  # 30 fps within 10 ms
    for frame, original in zip(decoded, frames, strict=True):
        assert np.abs(frame.astype(float) - original).mean() < 6  # of 255: 256 colours


@pytest.mark.parametrize("colours", [1, 2, 3, 5])
def test_gif_of_few_colours(tmp_path, colours):
    frame = (np.arange(16 * 16) % colours * 50).astype(np.uint8).reshape(16, 16, 1).repeat(3, -1)
    (path,) = write(tmp_path / "a", "gif", [frame, frame])
    decoded, _, _ = read_gif(path)
    assert len(decoded) == 2 and np.array_equal(decoded[0], frame) and np.array_equal(decoded[1], frame)


@pytest.mark.parametrize("ext", ["mp4", "gif", "png"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("n_frames", [0, 2])
def test_nothing_is_left_of_an_interrupted_video_and_others_stay(tmp_path, ext, error, n_frames):
    write(tmp_path / "video_0_rgb", ext, make_frames(2))
    write(tmp_path / "video_1_rgb", ext, make_frames(2))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(error), open_writer(tmp_path / "video_1_rgb", ext, 20) as writer:
        for frame in make_frames(n_frames, seed=1):
            writer.add(frame)
        raise error
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert writer.paths == []


@pytest.mark.parametrize("ext", ["mp4", "gif", "png"])
def test_frames_of_different_sizes_are_refused(tmp_path, ext):
    with pytest.raises(ValueError, match="expected a frame of"), open_writer(tmp_path / "a", ext, 20) as writer:
        writer.add(make_frames(1)[0])
        writer.add(make_frames(1, (20, 20))[0])
    assert os.listdir(tmp_path) == []


def test_a_video_without_frames_is_refused(tmp_path):
    for ext in ("mp4", "gif", "png"):
        with pytest.raises(ValueError, match="no frames"), open_writer(tmp_path / "a", ext, 20):
            pass
    assert os.listdir(tmp_path) == []


# ---- bad input ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ext", "fps", "message"),
    [
        ("avi", 20, "--ext: expected one of mp4, gif, png, found 'avi'"),
        ("png", 0, "--fps: expected a number from 0.1 to 240 for png, found 0"),
        ("png", -1, "--fps: expected a number from 0.1 to 240 for png, found -1"),
        ("mp4", float("nan"), "--fps: expected a number from 0.1 to 240 for mp4, found nan"),
        ("mp4", float("inf"), "--fps: expected a number from 0.1 to 240 for mp4, found inf"),
        ("gif", 60, "--fps: expected a number from 0.1 to 50 for gif, found 60"),
    ],
)
def test_bad_settings_are_named(ext, fps, message):
    with pytest.raises(UserError) as error:
        check_writer(ext, fps)
    assert str(error.value) == message


def test_missing_ffmpeg(tmp_path, monkeypatch):
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / "no-such-ffmpeg"))
    with pytest.raises(UserError, match="--ext mp4 needs ffmpeg, which was not found; .*no-such-ffmpeg"):
        open_writer(tmp_path / "a", "mp4", 20)
    assert write(tmp_path / "a", "png", make_frames(1)) == [tmp_path / "a_000.png"]  # the others do without it

    def no_exe():
        raise RuntimeError("No ffmpeg exe could be found.")

    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", no_exe)
    with pytest.raises(UserError, match="--ext mp4 needs ffmpeg"):
        check_writer("mp4", 20)


def test_an_ffmpeg_that_fails(tmp_path, monkeypatch):
    broken = tmp_path / "ffmpeg"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(broken))
    with pytest.raises(
        UserError,
        match=r"a\.mp4: cannot be written: ffmpeg ended with exit code 1 before the last frame \(is the disk full",
    ):
        write(tmp_path / "out" / "a", "mp4", make_frames(8, (256, 256)))
    assert os.listdir(tmp_path / "out") == []


@pytest.mark.parametrize("ext", ["mp4", "gif", "png"])
def test_a_folder_that_cannot_be_written_to(tmp_path, ext):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write there"):
        write(tmp_path / "file" / "a", ext, make_frames(1))


# ---- a full disk --------------------------------------------------------------------------------------------------


def fake_ffmpeg(folder, monkeypatch, end: str) -> None:
    """An encoder that, when the real one has done its work on the file $last, does ``end``; a reader that is right."""
    script = folder / "ffmpeg"
    real = imageio_ffmpeg.get_ffmpeg_exe()
    script.write_text(
        f'#!/bin/sh\nfor last; do :; done\nif [ "$last" = - ]; then exec {real} "$@"; fi\n{real} "$@"\n{end}\n'
    )
    script.chmod(0o755)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(script))


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        ("echo no room >&2; exit 228", r"ffmpeg ended with exit code 228 \(no room\)"),
        ("kill -9 $$", r"ffmpeg ended with exit code -9 \(is the disk full"),
        ('truncate -s 500 "$last"; exit 0', "was to write 6 frames, in its file are none that can be read"),
        ('truncate -s -200 "$last"; exit 0', "was to write 6 frames, in its file are none that can be read"),
        (': > "$last"; exit 0', "was to write 6 frames, in its file are none that can be read"),
        (f'{imageio_ffmpeg.get_ffmpeg_exe()} -v error -y -i "$last" -frames:v 5 "$last.mp4"; mv "$last.mp4" "$last"',
         "was to write 6 frames, in its file are 5"),
    ],
)  # fmt: skip
def test_an_encoder_that_fails_at_its_end_leaves_the_video_before(tmp_path, monkeypatch, end, expected):
    (old,) = write(tmp_path / "out/a", "mp4", make_frames(3))
    before = old.read_bytes()
    fake_ffmpeg(tmp_path, monkeypatch, end)
    with pytest.raises(UserError, match=f"^{old}: cannot be written: [^\n]*{expected}[^\n]*still there$"):
        write(tmp_path / "out/a", "mp4", make_frames(6))
    assert os.listdir(tmp_path / "out") == ["a.mp4"] and old.read_bytes() == before


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
@pytest.mark.parametrize("ext", ["mp4", "gif", "png"])
def test_a_file_that_may_not_grow_leaves_the_video_before(tmp_path, ext, share):
    """As a full disk does: with less room than the largest file needs."""
    rng = np.random.default_rng(0)  # noise, which cannot be packed
    frames = [rng.integers(0, 256, (64, 64, 3), dtype=np.uint8) for _ in range(12)]
    before = {path.name: path.read_bytes() for path in write(tmp_path / "a", ext, frames)}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # then a write beyond the limit is an error
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(share * max(map(len, before.values()))), limits[1]))
    try:
        with pytest.raises(UserError, match=r"^[^\n]*a[^\n]*: cannot be written: [^\n]*$"):
            write(tmp_path / "a", ext, frames)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_counting_frames(tmp_path):
    (path,) = write(tmp_path / "a", "mp4", make_frames(7))
    assert count_frames(path) == 7
    for spoilt in (b"", b"no video", path.read_bytes()[:-300]):
        path.write_bytes(spoilt)
        with pytest.raises(OSError):
            count_frames(path)


@pytest.mark.parametrize("ext", ["mp4", "gif", "png"])
def test_two_processes_and_one_video(tmp_path, ext):
    with open_writer(tmp_path / "a", ext, 20) as writer:
        writer.add(make_frames(1)[0])
        who = f"process {os.getpid()} on {socket.gethostname()} is writing this video"
        with pytest.raises(UserError, match=rf"a(\.{ext})?: {who}"):
            write(tmp_path / "a", ext, make_frames(1))
        write(tmp_path / "b", ext, make_frames(1))
    assert len(os.listdir(tmp_path)) == 2


def test_frames_of_a_killed_process_are_removed_by_the_next_one(tmp_path):
    script = "import os, signal, numpy as np; from inference.video import open_writer\n"
    script += f"with open_writer({str(tmp_path / 'a')!r}, 'png', 20) as writer:\n"
    script += "    writer.add(np.zeros((8, 8, 3), np.uint8)); os.kill(os.getpid(), signal.SIGKILL)"
    subprocess.run([sys.executable, "-c", script], cwd=ROOT)
    assert {path.suffix for path in tmp_path.iterdir()} == {".partial", ".lock"}
    remove_stale.cache_clear()
    write(tmp_path / "b", "png", make_frames(1))
    assert os.listdir(tmp_path) == ["b_000.png"]
