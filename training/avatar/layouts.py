"""Multi-view captures as their makers lay them out: AvatarReX, THuman4.0 (the one for own data), ActorsHQ."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from networks.gaussian.calibrations import Camera, read_csv_cameras, read_json_cameras
from torch_utils.misc import UserError, reason

Paths = Callable[[Path, str, int], Path]  # of a folder, a camera's name and a frame
MISSING = "missing_img_files.txt"
REGISTRATION = "smpl_params.npz"


class Layout(NamedTuple):
    calibration: str
    read_cameras: Callable[[Path], list[Camera]]
    picture: Paths
    mask: Paths


LAYOUTS = {
    "avatarrex": Layout(
        "calibration_full.json", read_json_cameras,
        lambda root, name, frame: root / name / f"{frame:08d}.jpg",
        lambda root, name, frame: root / name / "mask/pha" / f"{frame:08d}.jpg",
    ),
    "thuman4": Layout(
        "calibration.json", read_json_cameras,
        lambda root, name, frame: root / "images" / name / f"{frame:08d}.jpg",
        lambda root, name, frame: root / "masks" / name / f"{frame:08d}.jpg",
    ),
    "actorshq": Layout(
        "4x/calibration.csv", read_csv_cameras,
        lambda root, name, frame: root / "4x/rgbs" / name / f"{name}_rgb{frame:06d}.jpg",
        lambda root, name, frame: root / "4x/masks" / name / f"{name}_mask{frame:06d}.png",
    ),
}  # fmt: skip


class Capture(NamedTuple):
    """A set that is there, as far as its calibration and its lists say."""

    root: Path
    layout: Layout
    cameras: dict[str, Camera]  # in the order of the calibration
    missing: frozenset[tuple[str, int]]  # camera, frame

    def items(self, frames: range, cameras: list[str]) -> list[tuple[int, str]]:
        """Frame and camera of all pictures but those that the set says are missing.

        Raises:
            UserError: pictures or masks are not there though no list says so; the first few are named.
        """
        wanted = [(f, name) for f in frames for name in cameras if (name, f) not in self.missing]
        paths = (path(self.root, name, f) for f, name in wanted for path in (self.layout.picture, self.layout.mask))
        gone = [path for path in paths if not path.is_file()]
        if gone:
            some = ", ".join(str(path.relative_to(self.root)) for path in gone[:3])
            more = f" and {len(gone) - 3} more" if len(gone) > 3 else ""
            raise UserError(
                f"{self.root}: expected pictures and masks of all frames, missing {some}{more}; see {MISSING}"
            )
        return wanted


def open_capture(root: str | Path, name: str) -> Capture:
    """A set of the layout ``name``, of LAYOUTS. Raises UserError."""
    root, layout = Path(root), LAYOUTS[name]
    if not root.is_dir():
        raise UserError(f"--data {root}: expected a folder of the layout {name}, found none")
    cameras = layout.read_cameras(root / layout.calibration)
    return Capture(root, layout, {camera.name: camera for camera in cameras}, _missing(root / MISSING))


def _missing(path: Path) -> frozenset[tuple[str, int]]:
    """Of lines that end in CAMERA/FRAME.jpg, with either slash; none where there is no such file."""
    if not path.exists():
        return frozenset()
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        found = reason(error) if isinstance(error, OSError) else "bytes that are no text"
        raise UserError(f"{path}: expected a path a line, found {found}") from error
    pictures: set[tuple[str, int]] = set()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        match = re.search(r"([^/\\]+)[/\\](\d+)\.\w+\s*$", line)
        if match is None:
            raise UserError(f"{path}:{number}: expected a path that ends in CAMERA/FRAME.jpg, found {line.strip()!r}")
        pictures.add((match[1], int(match[2])))
    return frozenset(pictures)
