"""The detectors' files: taken once out of MediaPipe's package (Apache-2.0), checked, kept in the user's cache folder.

None of them is part of this repository. They run under LiteRT (``ai-edge-litert``), on the CPU.
"""

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
from filelock import FileLock

from torch_utils.files import user_cache
from torch_utils.misc import UserError, atomic_path, one_line, reason, shortened

RELEASE = "0.10.21"  # the last one whose package has the files in it
SHA256 = {
    "face_detection_short_range": "bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8",
    "face_detection_full_range_sparse": "2c3728e6da56f21e21a320433396fb06d40d9088f2247c05e5635a688d45dfe1",
    "face_landmark": "1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814",
    "iris_landmark": "d1744d2a09c25f501d39eba4faff47e53ecca8852c5ce19bce8eeac39357521f",
    "pose_detection": "9ba9dd3d42efaaba86b4ff0122b06f29c4122e756b329d89dca1e297fd8f866c",
    "pose_landmark_full": "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f",
    "selfie_segmentation": "9ee168ec7c8f2a16c56fe8e1cfbc514974cbbb7e434051b455635f1bd1462f5c",
}
_PIP = (
    *(
        "-m",
        "pip",
        "download",
        "--quiet",
        "--disable-pip-version-check",
        "--no-cache-dir",
        "--no-deps",
        "--retries",
        "2",
    ),
    *("--only-binary=:all:", "--python-version", "3.11", "--platform", "manylinux_2_28_x86_64"),
)


def model_folder() -> Path:
    """Where the files are kept; it may not be there yet."""
    return user_cache() / "tracker"


class Model:
    """A detector, ready to run.

    Args:
        name: of :data:`SHA256`.
        threads: that it may use.

    Raises:
        UserError: LiteRT is not installed, or the file is neither here nor to be had.
    """

    def __init__(self, name: str, threads: int = 1) -> None:
        try:
            from ai_edge_litert.interpreter import Interpreter  # here: it takes a while, and only trackers need it
        except ImportError as error:
            raise UserError(f"the tracker needs ai-edge-litert: pip install ai-edge-litert ({error})") from None
        self._net = Interpreter(model_content=read_model(name), num_threads=threads)
        self._net.allocate_tensors()
        self._input = self._net.get_input_details()[0]["index"]
        details = self._net.get_output_details()
        self.size: tuple[int, int] = tuple(self._net.get_input_details()[0]["shape"][1:3])  # rows, columns
        self._outputs = [output["index"] for output in details]

    def __call__(self, pixels: np.ndarray) -> list[np.ndarray]:
        """Pixels [H, W, 3], scaled as the detector wants them -> its outputs, without their batch axis."""
        self._net.set_tensor(self._input, pixels[None].astype(np.float32, copy=False))
        self._net.invoke()
        return [self._net.get_tensor(index)[0] for index in self._outputs]


def read_model(name: str) -> bytes:
    """The bytes of a detector's file, which are what their checksum says; fetched on first use."""
    path = model_folder() / f"{name}.tflite"
    data = _checked(path)
    if data is None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(path.parent / "fetch.lock"):
                if (data := _checked(path)) is None:
                    _fetch(path.parent)
                    data = _checked(path)
        except OSError as error:
            raise UserError(f"{path}: cannot be written: {reason(error)}") from None
    assert data is not None  # or _fetch has complained
    return data


def _checked(path: Path) -> bytes | None:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {reason(error)}") from None
    return data if hashlib.sha256(data).hexdigest() == SHA256[path.stem] else None


def _fetch(folder: Path) -> None:
    """Puts all files into ``folder``, from a wheel that somebody has put there or else from the package index."""
    wheels = sorted(folder.glob(f"mediapipe-{RELEASE}-*.whl"))
    if wheels:
        return _unpack(wheels[0], folder)
    with tempfile.TemporaryDirectory(dir=folder) as place:
        print(f"fetching the tracker's detectors (35 MB, once) to {folder}", file=sys.stderr)
        done = subprocess.run(
            [sys.executable, *_PIP, "--dest", place, f"mediapipe=={RELEASE}"],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
        )  # fmt: skip
        wheels = sorted(Path(place).glob("*.whl"))
        if done.returncode or not wheels:
            errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or [done.stderr]
            raise UserError(
                f"the tracker's detectors could not be fetched: {shortened(one_line(errors[-1]), 200)}; put the file "
                f"mediapipe-{RELEASE}-*.whl of any system, from PyPI, into {folder}, or its .tflite files (sha256 of "
                f"face_landmark.tflite: {SHA256['face_landmark']})"
            )
        _unpack(wheels[0], folder)


def _unpack(wheel: Path, folder: Path) -> None:
    """The files of a wheel into ``folder``, each whole. Raises UserError for a wheel that is not what it should be."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            inside = {Path(name).stem: name for name in archive.namelist() if name.endswith(".tflite")}
            for name, wanted in SHA256.items():
                data = archive.read(inside[name])
                if (found := hashlib.sha256(data).hexdigest()) != wanted:
                    raise UserError(f"{wheel}: {inside[name]}: expected sha256 {wanted}, found {found}")
                with atomic_path(folder / f"{name}.tflite") as temporary:
                    temporary.write_bytes(data)
    except (zipfile.BadZipFile, KeyError, EOFError) as error:
        raise UserError(f"{wheel}: damaged, or no package of MediaPipe {RELEASE} ({one_line(str(error))})") from None
