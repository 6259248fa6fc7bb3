"""Frames to files: mp4, gif and png sequences, written frame by frame and either whole or not at all."""

from __future__ import annotations

import io
import math
import re
import shutil
import struct
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import numpy as np
import torch
from PIL import Image

from inference.ffmpeg import Encoder, find_encoder
from torch_utils.locks import SUFFIX, hold
from torch_utils.misc import UserError, atomic_path, partial_path, reason, remove_stale

EXTENSIONS = ("mp4", "gif", "png")
# Depth range of the portrait camera in canonical units (method: near and far of its rays).
DEPTH_NEAR, DEPTH_FAR = 1.675087979372887, 2.115087979372887
MIN_FPS, MAX_FPS = 0.1, 240
GIF_MAX_FPS = 50  # players slow down anything faster


def open_writer(stem: str | Path, ext: str, fps: float) -> FrameWriter:
    """The writer of `{stem}.mp4`, `{stem}.gif` or `{stem}_{frame:03d}.png`.

    Raises:
        UserError: `ext` is unknown, ffmpeg is missing (mp4), or `fps` cannot be played (gif).
    """
    check_writer(ext, fps)
    stem = Path(stem)
    if ext == "mp4":
        return _Mp4Writer(stem.with_name(f"{stem.name}.mp4"), fps)
    if ext == "gif":
        return _GifWriter(stem.with_name(f"{stem.name}.gif"), fps)
    return _PngWriter(stem)


def check_writer(ext: str, fps: float) -> None:
    """Raises the UserErrors of `open_writer`, without opening anything."""
    if ext not in EXTENSIONS:
        raise UserError(f"--ext: expected one of {', '.join(EXTENSIONS)}, found '{ext}'")
    most = GIF_MAX_FPS if ext == "gif" else MAX_FPS
    if not MIN_FPS <= fps <= most:
        raise UserError(f"--fps: expected a number from {MIN_FPS:g} to {most} for {ext}, found {fps:g}")
    if ext == "mp4":
        find_encoder()


def depth_to_uint8(depth: torch.Tensor, alpha: torch.Tensor) -> np.ndarray:
    """Depth and alpha [H,W] -> uint8 grey [H,W,3]: near is bright, far is dark, the background black.

    The range is fixed (the portrait camera's near and far), so brightness means the same in every frame and for every
    person. What is partly transparent is dimmed by its alpha.
    """
    near = (DEPTH_FAR - depth.detach().float()) / (DEPTH_FAR - DEPTH_NEAR)  # 1 at near, 0 at far
    near = torch.where(alpha > 0, near, torch.zeros_like(near))  # depth means nothing where there is nothing
    grey = (near.clamp(0, 1) * alpha.detach().float().clamp(0, 1) * 255).round().to(torch.uint8)
    return grey[..., None].expand(-1, -1, 3).cpu().numpy()


def grid_shape(n: int) -> tuple[int, int]:
    """Rows and columns of the smallest grid, as square as possible and wider rather than higher, with n cells."""
    columns = math.ceil(math.sqrt(n))
    return math.ceil(n / columns), columns


def tile(frames: Sequence[np.ndarray], rows: int, columns: int, background: int = 255) -> np.ndarray:
    """Frames [H,W,3] -> one [rows*H, columns*W, 3], row by row; cells without a frame show the background."""
    h, w = frames[0].shape[:2]
    canvas = np.full((rows * h, columns * w, 3), background, dtype=np.uint8)
    for i, frame in enumerate(frames):
        r, c = divmod(i, columns)
        canvas[r * h : (r + 1) * h, c * w : (c + 1) * w] = frame
    return canvas


class FrameWriter(ABC):
    """A context manager that takes the frames of one video; its files get their final names on success.

    Attributes:
        paths: the files, once the context has been left without an exception; empty before.
    """

    def __init__(self, target: Path) -> None:
        self.paths: list[Path] = []
        self._target = target
        self._count = 0
        self._size: tuple[int, ...] = ()

    def add(self, frame: np.ndarray) -> None:
        """Appends a frame: uint8 [H,W,3], of one size throughout."""
        if self._count == 0:
            self._size = frame.shape
        elif frame.shape != self._size:
            raise ValueError(f"{self._target}: expected a frame of {self._size}, found {frame.shape}")
        self._write(np.ascontiguousarray(frame, dtype=np.uint8))
        self._count += 1

    def __enter__(self) -> FrameWriter:
        with ExitStack() as stack:
            self._open(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is not None:
                self._abort()
            elif self._count == 0:
                raise ValueError(f"{self._target}: no frames were added")
            else:
                self._finish()
        except BaseException as late:
            self._abort()
            self._stack.__exit__(type(late), late, late.__traceback__)
            raise
        self._stack.__exit__(kind, error, trace)
        if kind is None:
            self.paths = self._written()

    def _open(self, stack: ExitStack) -> None:
        """Takes what must be given back, under temporary names."""
        lock = self._target.with_name(f".{self._target.name}{SUFFIX}")
        stack.enter_context(hold(lock, str(self._target), "writing this video"))
        self._temporary = self._make_room(stack)

    def _make_room(self, stack: ExitStack) -> Path:
        """The temporary place that the video is written to."""
        return stack.enter_context(atomic_path(self._target))

    @abstractmethod
    def _write(self, frame: np.ndarray) -> None:
        """Appends a contiguous frame."""

    @abstractmethod
    def _finish(self) -> None:
        """Completes what was written, after the last frame."""

    def _abort(self) -> None:  # noqa: B027 (most have nothing to stop)
        """Stops without completing anything."""

    def _written(self) -> list[Path]:
        return [self._target]


class _Mp4Writer(FrameWriter):
    """H.264; odd sizes are padded to even."""

    def __init__(self, target: Path, fps: float) -> None:
        super().__init__(target)
        self._fps = fps
        self._encoder: Encoder | None = None

    def _write(self, frame: np.ndarray) -> None:
        h, w = frame.shape[:2]
        frame = np.pad(frame, ((0, h % 2), (0, w % 2), (0, 0)), mode="edge")  # yuv420p halves both sides
        if self._encoder is None:
            self._encoder = Encoder(self._temporary, frame.shape[1], frame.shape[0], self._fps)
        self._encoder.write(frame.tobytes())

    def _finish(self) -> None:
        assert self._encoder is not None  # there was a frame
        self._encoder.finish()

    def _abort(self) -> None:
        if self._encoder is not None:
            self._encoder.abort()


class _GifWriter(FrameWriter):
    """An endlessly looping GIF, one palette per frame.

    Pillow encodes single frames; they are joined here because Pillow itself keeps a whole animation in memory and
    drops frames that equal the one before.
    """

    def __init__(self, target: Path, fps: float) -> None:
        super().__init__(target)
        self._fps = fps

    def _open(self, stack: ExitStack) -> None:
        super()._open(stack)
        self._file = stack.enter_context(self._temporary.open("wb"))

    def _write(self, frame: np.ndarray) -> None:
        palette, image_data = _encode_gif_frame(frame)
        h, w = frame.shape[:2]
        # Delays are whole hundredths of a second: rounding the running time keeps the speed right on average.
        delay = round((self._count + 1) * 100 / self._fps) - round(self._count * 100 / self._fps)
        if self._count == 0:
            self._file.write(b"GIF89a" + struct.pack("<HHBBB", w, h, 0x70, 0, 0))
            self._file.write(b"\x21\xff\x0bNETSCAPE2.0\x03\x01\x00\x00\x00")  # loop for ever
        self._file.write(b"\x21\xf9\x04" + struct.pack("<BHBB", 0x04, delay, 0, 0))
        size_bits = (len(palette) // 3).bit_length() - 2  # the table holds 2^(bits+1) colours
        self._file.write(b"\x2c" + struct.pack("<HHHHB", 0, 0, w, h, 0x80 | size_bits) + palette + image_data)

    def _finish(self) -> None:
        self._file.write(b"\x3b")
        self._file.flush()


def _encode_gif_frame(frame: np.ndarray) -> tuple[bytes, bytes]:
    """Colour table and LZW data of one frame, cut out of the one-frame GIF that Pillow makes of it."""
    buffer = io.BytesIO()
    Image.fromarray(frame).quantize(256).save(buffer, format="GIF", interlace=0)
    data = buffer.getvalue()
    n_table = 3 * 2 ** ((data[10] & 7) + 1)
    palette, rest = data[13 : 13 + n_table], data[13 + n_table :]
    while rest[0] == 0x21:  # extensions: label, then blocks of a length byte and data, ended by a zero
        end = 2
        while rest[end]:
            end += 1 + rest[end]
        rest = rest[end + 1 :]
    return palette, rest[10:-1]  # without the image descriptor (10 bytes) and the trailer


class _PngWriter(FrameWriter):
    """`{stem}_000.png`, `{stem}_001.png`, ...: collected in a hidden folder, moved out when the last one is there."""

    def _make_room(self, stack: ExitStack) -> Path:
        folder = partial_path(self._target)
        try:
            remove_stale(folder.parent)
            folder.mkdir()
        except OSError as error:
            raise UserError(f"{self._target.parent}: cannot write there: {reason(error)}") from error
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        return folder

    def _write(self, frame: np.ndarray) -> None:
        path = self._path(self._count)
        try:
            Image.fromarray(frame).save(self._temporary / path.name, format="PNG")
        except OSError as error:
            raise UserError(f"{path}: cannot be written: {reason(error)}") from error

    def _finish(self) -> None:
        written = self._written()
        # Frames of an earlier, longer video of the same name would be taken for the end of this one.
        earlier = re.compile(re.escape(self._target.name) + r"_\d{3,}\.png")
        try:
            for path in written:
                (self._temporary / path.name).replace(path)
            for path in self._target.parent.iterdir():
                if earlier.fullmatch(path.name) and path not in written:
                    path.unlink()
        except OSError as error:
            raise UserError(f"{self._target}_*.png: cannot be written: {reason(error)}") from error

    def _written(self) -> list[Path]:
        return [self._path(i) for i in range(self._count)]

    def _path(self, number: int) -> Path:
        return self._target.with_name(f"{self._target.name}_{number:03d}.png")
