"""H.264 by the ffmpeg program: frames go in through a pipe, and the file is looked at before it counts as written."""

from __future__ import annotations

import errno
import os
import subprocess
import tempfile
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

from torch_utils.ffmpeg import find_ffmpeg
from torch_utils.misc import one_line, shortened

CRF = 10  # of 0 (lossless) to 51


def find_encoder() -> str:
    """Path of the ffmpeg program; raises UserError where there is none."""
    return find_ffmpeg("--ext mp4", ", or choose --ext gif or png")


class Encoder:
    """An mp4 file in the making: H.264 in yuv420p, which every player understands.

    Args:
        path: of the file.
        width, height: pixels, even.
        fps: frames per second.

    Raises:
        OSError: in every method: ffmpeg did not start, did not end well, or its file is not what it should be.
    """

    def __init__(self, path: Path, width: int, height: int, fps: float) -> None:
        self._path, self._count = path.absolute(), 0  # a colon in a relative name would be a protocol's
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 (open as long as the process)
        pictures = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}"]
        pictures += ["-r", str(Fraction(fps).limit_denominator()), "-i", "-"]
        coded = ["-an", "-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", str(CRF), "-f", "mp4", str(self._path)]
        self._process = subprocess.Popen(
            [find_encoder(), "-y", "-v", "error", *pictures, *coded],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=self._said,
            start_new_session=True,  # Ctrl-C is for us
        )  # fmt: skip
        assert self._process.stdin is not None
        self._pipe = self._process.stdin

    def write(self, frame: bytes) -> None:
        """Appends a frame: width * height * 3 bytes, rgb."""
        try:
            self._pipe.write(frame)
        except OSError:
            raise self._failure(f"ended with exit code {self._process.wait()} before the last frame") from None
        self._count += 1

    def finish(self) -> None:
        """Ends the file, looks at it, and has it on disk."""
        with suppress(BrokenPipeError):  # its exit code says more
            self._pipe.close()
        code = self._process.wait()
        if code != 0:
            raise self._failure(f"ended with exit code {code}")
        try:
            found = str(count_frames(self._path))
        except OSError as error:
            found = f"none that can be read ({error.strerror})"
        if found != str(self._count):
            raise self._failure(f"was to write {self._count} frames, in its file are {found}")
        with self._path.open("rb+") as file:
            os.fsync(file.fileno())
        self._said.close()

    def abort(self) -> None:
        """Stops at once, whatever has happened before."""
        self._process.kill()
        self._process.wait()
        with suppress(OSError):
            self._pipe.close()
        self._said.close()

    def _failure(self, what: str) -> OSError:
        self._said.seek(0)
        said = shortened(one_line(self._said.read().decode(errors="replace")), 300)
        return OSError(errno.EIO, f"ffmpeg {what} ({said or 'is the disk full, or is this an ffmpeg without H.264?'})")


def count_frames(path: Path) -> int:
    """Frames of a video file, every one of them read, none decoded. Raises OSError where it cannot be read."""
    command = [find_encoder(), "-v", "error", "-xerror", "-i", str(path), "-map", "0:v:0", "-c", "copy"]
    # A line for each: ffmpeg 7.0 does not count frames that it copies.
    command += ["-f", "framecrc", "-"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
    frames = [line for line in done.stdout.splitlines() if line and not line.startswith("#")]
    if done.returncode != 0 or done.stderr or not frames:
        raise OSError(errno.EIO, shortened(one_line(done.stderr), 300) or "no frames")
    return len(frames)
