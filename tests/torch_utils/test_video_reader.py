"""Videos as people have them, made here by ffmpeg: each is read for what it shows, or refused in one line."""

import subprocess

import numpy as np
import pytest
from PIL import Image

from torch_utils.ffmpeg import find_ffmpeg
from torch_utils.misc import UserError
from torch_utils.video_reader import VideoReader

RED, BLUE = (220, 30, 40), (30, 60, 200)
EXACT = ("-c:v", "libx264rgb", "-qp", "0")
COLOURS_OFF = 8  # grey levels: 4:2:0 colours and their rounding on flat areas


def make_video(path, *options, size=(64, 48), frames=6, before=()):
    """A video at 10 frames a second, red above and blue below, whose left edge has a white bar in odd frames."""
    width, height = size
    picture = np.empty((frames, height, width, 3), np.uint8)
    picture[:, : height // 2], picture[:, height // 2 :] = RED, BLUE
    picture[1::2, :, : width // 8] = 255
    source = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", "10", *before, "-i", "-")
    command = [find_ffmpeg("this test"), "-y", "-v", "error", *source, *options, str(path)]
    subprocess.run(command, input=picture.tobytes(), check=True)
    return picture


def copy_video(source, path, *options, before=()):
    command = [
        find_ffmpeg("this test"),
        "-y",
        "-v",
        "error",
        *before,
        "-i",
        str(source),
        "-c",
        "copy",
        *options,
        str(path),
    ]
    subprocess.run(command, check=True)


def near(image, colour):
    return np.abs(image.astype(int) - colour).max() <= COLOURS_OFF


def test_a_lossless_video_is_read_to_the_bit(tmp_path):
    made = make_video(tmp_path / "a.mp4", *EXACT)
    reader = VideoReader(tmp_path / "a.mp4")
    for _ in range(2):  # and again from the start
        frames = list(reader)
        assert (np.stack([frame.image for frame in frames]) == made).all()
        assert [frame.seconds for frame in frames] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5], abs=1e-3)
        assert reader.damage == ""


def test_odd_sizes_keep_their_size(tmp_path):
    made = make_video(tmp_path / "a.mp4", *EXACT, size=(63, 47))
    assert (next(iter(VideoReader(tmp_path / "a.mp4"))).image == made[0]).all()


def test_a_video_that_is_told_to_be_turned_is_upright(tmp_path):
    """Turned by 90 degrees counter-clockwise, what was above is on the left."""
    make_video(tmp_path / "a.mp4", "-pix_fmt", "yuv420p")
    copy_video(tmp_path / "a.mp4", tmp_path / "b.mp4", before=("-display_rotation", "90"))
    image = next(iter(VideoReader(tmp_path / "b.mp4"))).image
    assert image.shape == (64, 48, 3)
    assert near(image[:, 2:22], RED) and near(image[:, 26:46], BLUE)


def test_frames_keep_their_own_times(tmp_path):
    """Of six frames the second and fifth are left out: no frame is made up, none comes at another time."""
    keep = "select='not(eq(mod(n,3),1))'"
    make_video(tmp_path / "a.mkv", "-vf", keep, "-fps_mode", "vfr", "-pix_fmt", "yuv420p")
    assert [frame.seconds for frame in VideoReader(tmp_path / "a.mkv")] == pytest.approx([0, 0.2, 0.3, 0.5], abs=1e-3)


def test_what_is_transparent_is_white(tmp_path):
    """Half of it: 0.5 * colour + 0.5 * 255."""
    make_video(tmp_path / "a.mov", "-vf", "format=rgba,colorchannelmixer=aa=0.5", "-c:v", "qtrle", frames=1)
    image = next(iter(VideoReader(tmp_path / "a.mov"))).image
    assert np.abs(image[2, 32] - (np.array(RED) * 128 + 255 * 127) / 255).max() <= 1


def test_large_frames_are_made_smaller_and_wide_pixels_square(tmp_path):
    make_video(tmp_path / "a.mp4", *EXACT, size=(400, 200), frames=1)
    assert next(iter(VideoReader(tmp_path / "a.mp4", longest=100))).image.shape == (50, 100, 3)
    make_video(tmp_path / "b.mp4", "-vf", "setsar=2", "-pix_fmt", "yuv420p", frames=1)
    assert next(iter(VideoReader(tmp_path / "b.mp4"))).image.shape == (48, 128, 3)


def test_ten_bits_and_bright_ranges_become_eight(tmp_path):
    """10 bits of an ordinary range keep their colours; half as many of PQ's, which are daylight, are no white yet."""
    codec = ("-c:v", "libx265", "-x265-params", "log-level=error", "-pix_fmt", "yuv420p10le")
    make_video(tmp_path / "a.mp4", *codec)
    image = next(iter(VideoReader(tmp_path / "a.mp4"))).image
    assert near(image[2:20, 32:], RED) and near(image[26:, 32:], BLUE)
    pq = "hevc_metadata=transfer_characteristics=16:colour_primaries=9:matrix_coefficients=9"
    make_video(tmp_path / "b.mp4", "-vf", "colorlevels=romax=0.6:gomax=0.6:bomax=0.6", *codec)
    copy_video(tmp_path / "b.mp4", tmp_path / "c.mp4", "-bsf:v", pq)
    above, below = next(iter(VideoReader(tmp_path / "c.mp4"))).image[[10, 40], 40].astype(int)
    assert above[0] > above[1] + 100 and below[2] > below[0] + 100


def test_a_file_that_is_cut_short_gives_what_is_there_and_says_so(tmp_path):
    make_video(tmp_path / "a.mkv", "-pix_fmt", "yuv420p", "-g", "2", frames=30)
    data = (tmp_path / "a.mkv").read_bytes()
    (tmp_path / "b.mkv").write_bytes(data[: len(data) // 2])
    reader = VideoReader(tmp_path / "b.mkv")
    assert 2 <= len(list(reader)) < 30
    assert reader.damage == "File ended prematurely"


def test_pictures_of_one_frame_and_animations_are_videos_too(tmp_path):
    picture = Image.new("RGB", (30, 20), RED)
    picture.save(tmp_path / "a.png")
    assert (next(iter(VideoReader(tmp_path / "a.png"))).image == RED).all()
    picture.save(tmp_path / "a.gif", save_all=True, append_images=[Image.new("RGB", (30, 20), BLUE)], duration=200)
    assert [round(frame.seconds, 2) for frame in VideoReader(tmp_path / "a.gif")] == [0.0, 0.2]


def test_what_stops_early_leaves_no_process_behind(tmp_path):
    make_video(tmp_path / "a.mp4", "-pix_fmt", "yuv420p", frames=50)
    frames = iter(VideoReader(tmp_path / "a.mp4"))
    next(frames)
    frames.close()
    assert list(frames) == []


@pytest.mark.parametrize(
    ("name", "data", "problem"),
    [
        ("text.mp4", b"hello\n", "no video, or a damaged one"),
        ("text.txt", b"hello\n" * 99, "no video, or a damaged one"),
        ("list.m3u8", b"#EXTM3U\n#EXTINF:1,\na.mp4\n#EXT-X-ENDLIST\n", "no video, or a damaged one"),
        ("list.ffconcat", b"ffconcat version 1.0\nfile a.mp4\n", "no video, or a damaged one"),
        ("empty.mp4", b"", "expected a file of 1 to"),
    ],
)
def test_what_is_no_video_is_one_line(tmp_path, name, data, problem):
    make_video(tmp_path / "a.mp4", "-pix_fmt", "yuv420p", frames=1)
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UserError, match=problem) as error:
        list(VideoReader(tmp_path / name))
    assert str(tmp_path / name) in str(error.value) and "\n" not in str(error.value)


def test_sounds_folders_headless_and_missing_files_are_one_line(tmp_path):
    sound = tmp_path / "a.wav"
    subprocess.run(
        [find_ffmpeg("this test"), "-v", "error", "-f", "lavfi", "-i", "sine=duration=0.1", str(sound)], check=True
    )
    make_video(tmp_path / "a.mp4", "-pix_fmt", "yuv420p")
    data = (tmp_path / "a.mp4").read_bytes()
    (tmp_path / "b.mp4").write_bytes(data[: data.index(b"moov") - 4])  # its index comes last
    for path, problem in (
        (sound, "there is no video in it"),
        (tmp_path / "b.mp4", "moov atom not found"),
        (tmp_path, "found a folder"),
        (tmp_path / "none.mp4", "no such video file"),
    ):
        with pytest.raises(UserError, match=problem):
            list(VideoReader(path))
