"""Portraits by Cycles: scenes go to Blender's process as files and come back as pictures."""

from __future__ import annotations

import hashlib
import json
import subprocess
import tempfile
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy.ndimage import distance_transform_edt

from torch_utils.misc import UserError
from torch_utils.worker_pool import worker_pool
from training.data.cycles.environment import blender_version, environment_python
from training.data.cycles.exchange import write_scene
from training.data.cycles.scene import panoramas, person_scene
from training.data.layout import MAPS
from training.data.maps import depth_pixels, normal_pixels
from training.data.synthetic.drawing import camera_view
from training.data.synthetic.portrait import Portrait, encode, sit
from training.data.synthetic.sampling import Views

# Raise it whenever the same seed gives other scenes.
RENDERING = 3
_SCRIPT = Path(__file__).resolve().parents[3] / "blender" / "render.py"
_STRANDS = 2  # of a portrait's third generator


class Renderer(NamedTuple):
    """How portraits are rendered."""

    home: Path  # Blender's environment
    samples: int  # a pixel
    threads: int

    def made_by(self) -> str:
        """Whatever pictures follow from besides the seed. Raises UserError where there is no Blender."""
        digest = hashlib.sha256()
        names = panoramas(self.home / "panoramas")
        for name in names:
            digest.update((self.home / "panoramas" / name).read_bytes())
        sky = f"{len(names)} panoramas {digest.hexdigest()[:8]}" if names else "no panoramas"
        return f"--renderer cycles --samples {self.samples} ({blender_version(self.home)}, {sky}, scene {RENDERING})"


class _Order(NamedTuple):
    """A scene that lies in a file, and its labels."""

    index: int  # type: ignore[assignment]  # hides tuple.index
    path: Path
    labels: dict[str, np.ndarray]


def render_portraits(
    renderer: Renderer,
    indices: Iterable[int],
    *,
    seed: int,
    size: int,
    face_size: int,
    views: Views = "front",
    shots: int = 1,
    maps: bool = False,
) -> Generator[Portrait]:
    """Portraits of the people, poses and cameras that a drawn set with this seed has, in the order of ``indices``.

    The next scenes are made by a process of their own meanwhile.

    Raises:
        UserError: no Blender, or it ended or said no.
    """
    with tempfile.TemporaryDirectory(prefix="cycles-") as folder:
        order = partial(
            _order,
            renderer,
            Path(folder),
            seed=seed,
            size=size,
            face_size=face_size,
            views=views,
            shots=shots,
            maps=maps,
        )
        with _blender(renderer.home) as render, worker_pool(order, 1 if renderer.threads > 1 else 0) as order_all:
            for ordered in order_all(indices):
                render(ordered.path)
                yield _portrait(ordered, maps)
                for file in Path(folder).glob(f"{ordered.path.name}.*"):
                    file.unlink()


def _order(
    renderer: Renderer,
    folder: Path,
    index: int,
    *,
    seed: int,
    size: int,
    face_size: int,
    views: Views,
    shots: int,
    maps: bool,
) -> _Order:
    """Writes the scene of a portrait."""
    sitting = sit(seed, index, views, shots)
    rng = np.random.default_rng([seed, index // shots, _STRANDS])
    names = panoramas(renderer.home / "panoramas")
    chosen = int(rng.integers(1 << 16))
    panorama = str((renderer.home / "panoramas" / names[chosen % len(names)]).resolve()) if names else None
    scene = person_scene(
        sitting.posed,
        {
            "image": (camera_view(sitting.camera), size),
            "face": (camera_view(sitting.face_camera, "face", sitting.head), face_size),
        },
        rng,
        seed=index,
        samples=renderer.samples,
        threads=renderer.threads,
        panorama=panorama,
        maps=maps,
    )
    path = folder / f"{index:06d}"
    write_scene(scene, path)
    return _Order(index, path, sitting.all_labels(size))


@contextmanager
def _blender(home: Path) -> Iterator[Callable[[Path], None]]:
    """Starts Blender's process; yields a function that has it render the scene at a path."""
    blender_version(home)
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            [str(environment_python(home)), str(_SCRIPT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        orders, replies = process.stdin, process.stdout
        assert orders is not None and replies is not None

        def render(path: Path) -> None:
            try:
                orders.write(f"{path}\n")
                orders.flush()
                reply = json.loads(replies.readline() or "{}")
            except (OSError, ValueError):
                reply = {}
            if "error" in reply:
                raise UserError(f"Blender: {path.name}: {reply['error']}")
            if reply.get("ok") != str(path):
                log.seek(0)
                said = (log.read().strip().splitlines() or ["nothing"])[-1]
                raise UserError(f"Blender ended at {path.name} (out of memory? run again); its last words: {said}")

        try:
            yield render
        finally:
            process.terminate()
            process.wait()


def _portrait(ordered: _Order, maps: bool) -> Portrait:
    """What Blender left."""
    image, mask = _picture(ordered.path, "image")
    face, face_mask = _picture(ordered.path, "face")
    files: list[bytes] = []
    for name, shown in (("image", mask), ("face", face_mask)) if maps else ():
        with np.load(ordered.path.with_name(f"{ordered.path.name}.{name}.npz"), allow_pickle=False) as archive:
            depth, normals = fill_rim(archive["depth"], archive["normals"], shown > 0)
        files += [encode(depth_pixels(depth)), encode(normal_pixels(normals))]
    named = dict(zip(MAPS, files, strict=True)) if maps else {}
    return Portrait(encode(image), encode(face), encode(mask), ordered.labels, named)


def _picture(path: Path, camera: str) -> tuple[np.ndarray, np.ndarray]:
    """(RGB [H, W, 3], share of the person [H, W]) uint8; the denoiser leaves white only nearly white."""
    pixels = np.asarray(Image.open(path.with_name(f"{path.name}.{camera}.png")).convert("RGB"))
    mask = np.asarray(Image.open(path.with_name(f"{path.name}.{camera}.mask.png")).convert("RGBA"))[..., 3]
    return np.where(mask[..., None] > 0, pixels, 255).astype(np.uint8), mask


def fill_rim(depth: np.ndarray, normals: np.ndarray, somebody: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Maps [H, W], [H, W, 3] exactly where ``somebody`` is: at pixels whose centres missed, those of the nearest."""
    hit = depth > 0
    if not (hit & somebody).any():
        return np.zeros_like(depth), np.zeros_like(normals)
    row, column = distance_transform_edt(~(hit & somebody), return_distances=False, return_indices=True)
    return depth[row, column] * somebody, normals[row, column] * somebody[..., None]
