"""Video files as cameras, phones and programs write them -> upright 8-bit frames, each with its own time.

ffmpeg decodes, turns as the file's metadata say, makes pixels square, large frames smaller, and bright ranges (HDR)
ordinary. It is a program of its own, so decoding runs beside what is done with the frames.
"""

import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import IO, NamedTuple

import numpy as np

from torch_utils.ffmpeg import find_ffmpeg
from torch_utils.misc import UserError, check_file, one_line, shortened

LONGEST = 1280  # pixels of a frame's longer side
# Demuxers that would open other files, or call a text a picture.
_REFUSED = ("hls", "dash", "concat", "tty", "ffmetadata", "lavfi", "image2")
_STREAM = re.compile(r"Stream #0:\d+.*?: Video: (\w+).*?, ([a-z0-9]+)(?:\(([^)]*)\))?")
_TIME = re.compile(r"pts_time:(-?[\d.]+)")
_HDR = ("smpte2084", "arib-std-b67")
_ALPHA = ("rgba", "bgra", "argb", "abgr", "yuva", "gbrap", "ya8", "ya16", "pal8")
_WAIT = 10.0  # seconds for a frame's time to follow the frame


class Frame(NamedTuple):
    """A picture of a video."""

    seconds: float  # since the first one
    image: np.ndarray  # [H, W, 3] uint8 RGB, upright; all of a video have one size


class VideoReader:
    """The frames of a video file, read while they are asked for; what is transparent is white.

    Args:
        path: of the file.
        longest: pixels that the longer side of a frame may have; larger ones are made smaller.

    Raises:
        UserError: no such file, no video, ffmpeg is missing; while reading: not one frame can be decoded.
    """

    def __init__(self, path: str | Path, longest: int = LONGEST) -> None:
        check_file(path, "video")
        self._path, self._longest = Path(path), longest
        self._exe = find_ffmpeg("reading a video")
        self._pixels, self._colours = self._look()
        self.damage = ""  # what ffmpeg complained of, once all frames are read

    def __iter__(self) -> Iterator[Frame]:
        """Reads from the start."""
        process = subprocess.Popen(
            [self._exe, *_INPUT, f"file:{self._path.absolute()}", "-map", "0:v:0", "-vf", self._filters(), *_OUTPUT,
             "-c:v", "pam" if self._transparent else "ppm", "-"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=1 << 22,
            start_new_session=True,  # Ctrl-C is for us
        )  # fmt: skip
        assert process.stdout is not None and process.stderr is not None
        said = _Listener(process.stderr)
        first, count, size = 0.0, 0, (0, 0)
        try:
            while (image := _read_picture(process.stdout)) is not None:
                seconds = said.next_time()
                if count == 0:
                    first, size = seconds, image.shape[:2]
                elif image.shape[:2] != size:
                    break  # ffmpeg scales to the first size; never here
                count += 1
                yield Frame(seconds - first, image)
            process.wait()
        finally:
            process.kill()
            process.wait()
            said.join()
            process.stdout.close()
            process.stderr.close()
        self.damage = said.complaint()
        if count == 0:
            raise UserError(f"{self._path}: no frame of it can be decoded ({self.damage or 'no reason given'})")

    def _look(self) -> tuple[str, str]:
        """The names of the video's pixel format and of its colours, ``""`` where they are not said."""
        command = [self._exe, *_INPUT, f"file:{self._path.absolute()}"]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
        kind = re.search(r"Input #0, (.+?), from", done.stderr)
        stream = _STREAM.search(done.stderr)
        if kind is None or stream is None or kind[1].startswith(_REFUSED):
            errors = [line for line in done.stderr.splitlines() if "[error]" in line or "[fatal]" in line]
            why = _words(errors[0]) if errors else "ffmpeg does not know it"
            if kind:
                why = "there is no video in it" if stream is None else f"it is read as {kind[1]}, not as a video"
            raise UserError(f"{self._path}: no video, or a damaged one ({why})")
        return stream[2], stream[3] or ""

    @property
    def _transparent(self) -> bool:
        return self._pixels.startswith(_ALPHA)

    def _filters(self) -> str:
        most = self._longest
        # Square pixels, then into a square of `longest`; never larger.
        chain = [f"scale='max(1,trunc(iw*if(sar,sar,1)+0.5))':ih,scale='min(iw,{most})':'min(ih,{most})'"]
        chain[0] += ":force_original_aspect_ratio=decrease,setsar=1"
        if any(name in self._colours for name in _HDR) and self._can("zscale"):
            chain.append(
                "zscale=t=linear:npl=203,format=gbrpf32le,zscale=p=bt709,tonemap=mobius,zscale=t=bt709:m=bt709"
            )
        chain.append(f"format={'rgba' if self._transparent else 'rgb24'}")
        return ",".join([*chain, "showinfo=checksum=0"])

    def _can(self, name: str) -> bool:
        """Whether this ffmpeg has a filter that some are built without."""
        done = subprocess.run([self._exe, "-v", "error", "-filters"], stdin=subprocess.DEVNULL, capture_output=True)
        return f" {name} ".encode() in done.stdout


# Nothing but the file itself is opened; every line says how serious it is.
_INPUT = ("-hide_banner", "-nostats", "-v", "level+info", "-protocol_whitelist", "file,pipe", "-i")
_OUTPUT = ("-an", "-sn", "-dn", "-fps_mode", "passthrough", "-f", "image2pipe")


class _Listener(threading.Thread):
    """Reads what ffmpeg says while it works."""

    def __init__(self, stream: IO[bytes]) -> None:
        super().__init__(daemon=True)
        self._stream, self._times, self._complaints = stream, SimpleQueue[float](), list[str]()
        self._last = 0.0
        self.start()

    def run(self) -> None:
        for line in self._stream:
            text = line.decode(errors="replace")
            if "showinfo" in text and " n:" in text:
                found = _TIME.search(text)
                self._times.put(float(found[1]) if found else float("nan"))
            elif ("[error]" in text or "[fatal]" in text) and len(self._complaints) < 100:
                self._complaints.append(text)

    def next_time(self) -> float:
        """Seconds of the next frame; those of the one before it, and a little, where the file does not say."""
        with suppress(Empty):
            seconds = self._times.get(timeout=_WAIT)
            self._last = seconds if seconds > self._last or self._last == 0.0 else self._last + 1e-3
        return self._last

    def complaint(self) -> str:
        return _words(self._complaints[0]) if self._complaints else ""


def _words(line: str) -> str:
    """A line of ffmpeg's without the names of its parts."""
    return shortened(one_line(re.sub(r"\[[^\]]*\]", "", line)), 200)


def _read_picture(stream: IO[bytes]) -> np.ndarray | None:
    """The next picture of a pipe of PPM or PAM files as RGB; None at its end, also in the middle of a picture."""
    kind = stream.readline()
    if kind == b"P6\n":
        width, height = map(int, stream.readline().split())
        depth, _ = 3, stream.readline()
    elif kind == b"P7\n":
        lines = dict(line.split(b" ", 1) for line in iter(stream.readline, b"ENDHDR\n"))
        width, height, depth = (int(lines[name]) for name in (b"WIDTH", b"HEIGHT", b"DEPTH"))
    else:
        return None
    data = stream.read(width * height * depth)
    if len(data) < width * height * depth:
        return None
    pixels = np.frombuffer(data, np.uint8).reshape(height, width, depth)
    return pixels if depth == 3 else _on_white(pixels)


def _on_white(pixels: np.ndarray) -> np.ndarray:
    """[H, W, 4] -> [H, W, 3]."""
    if pixels[..., 3].min() == 255:
        return np.ascontiguousarray(pixels[..., :3])
    alpha = pixels[..., 3:].astype(np.uint16)
    return ((pixels[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
