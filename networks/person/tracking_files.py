"""Files that trackers write: SMPL fits, Deep3DFaceRecon coefficients, 5-point landmarks. Nothing in them is executed.

**SMPL fits** are one file for many photos (``.npz``, ``.json`` or ``.pkl``) or a folder with one such file a photo.
A file for many is a table (``.npz``: arrays with a row per photo), a list of records, ``{"data": [records]}`` as EFT
writes it, or a mapping from names to records. Of a record these keys are read, the first that is there:

| what | keys | shape |
|---|---|---|
| the photo's name (folders and suffix do not matter) | imgname, imageName, image_name | |
| rotations | pose, parm_pose, rotmat, pred_rotmat | [72] or [24, 3] axis-angle, radians; or [24, 3, 3] |
| shape | betas, shape, parm_shape, pred_betas | [10] |
| weak-perspective camera s, t_x, t_y | cam, parm_cam, camera, pred_cam | [3] |
| centre of the box, pixels | center, bbox_center | [2] |
| its side in units of 200 pixels | scale, bbox_scale | one number |

**Face coefficients**: ``NAME.mat`` as Deep3DFaceRecon writes them, with ``id`` [1, 80], ``exp`` [1, 64], ``angle``
[1, 3] (radians) and ``trans`` [1, 3], or all in ``coeff`` [1, 257]. **Landmarks**: ``NAME.txt``, five lines ``x y`` in
pixels of the photo: the eye on the picture's left, the other eye, the nose, the corner of the mouth on the left, the
other one.
"""

import codecs
import json
from collections.abc import Mapping
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
import roma
import torch

from networks.person.face_model import FaceArrays
from networks.person.tracking import FaceFit, FaceFrame, SmplFit, face_frame
from torch_utils.files import list_files
from torch_utils.mat_file import load_mat, mat_array
from torch_utils.misc import UserError, reason
from torch_utils.safe_pickle import load_pickle

NAME_KEYS = ("imgname", "imageName", "image_name")
KEYS = {
    "pose": ("pose", "parm_pose", "rotmat", "pred_rotmat"),
    "betas": ("betas", "shape", "parm_shape", "pred_betas"),
    "camera": ("cam", "parm_cam", "camera", "pred_cam"),
    "centre": ("center", "bbox_center"),
    "scale": ("scale", "bbox_scale"),
}
SIZES = {"pose": (72, 216), "betas": (10,), "camera": (3,), "centre": (2,), "scale": (1,)}
SUFFIXES = (".npz", ".json", ".pkl")
# Deep3DFaceRecon's 257 numbers; texture and light are not used.
COEFFICIENTS = {"id": slice(0, 80), "exp": slice(80, 144), "angle": slice(224, 227), "trans": slice(254, 257)}
PIXELS_PER_SCALE = 200.0
MAX_ROTATION_ERROR = 1e-2  # of R R^T - I; files hold three digits at least
MAX_COEFFICIENT = 100.0  # standard deviations


def first_key(record: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    """The first of ``names`` that is in ``record``."""
    return next((name for name in names if name in record), None)


def photo_stem(name: str) -> str:
    """A photo's name without folders and suffix, by any system's rules: ``C:\\photos\\anna.jpg`` -> ``anna``."""
    return PureWindowsPath(name).stem


def _numbers(value: Any, sizes: tuple[int, ...], where: str) -> np.ndarray:
    """Finite numbers as flat float64, as many as one of ``sizes``; else UserError."""
    try:
        array = np.asarray(value, dtype=np.float64).ravel()
    except (TypeError, ValueError):
        raise UserError(f"{where}: expected numbers, found {type(value).__name__}") from None
    if array.size not in sizes:
        raise UserError(f"{where}: expected {' or '.join(map(str, sizes))} numbers, found {np.shape(value)}")
    if not np.isfinite(array).all():
        raise UserError(f"{where}: expected finite numbers, found NaN or infinity")
    return array


def _rotations(array: np.ndarray, where: str) -> np.ndarray:
    """Axis-angle [72] or matrices [216] -> [24, 3, 3]."""
    if array.size == 72:
        vectors = array.reshape(24, 3)
        longest = np.linalg.norm(vectors, axis=1).max()
        if longest > 2 * np.pi + 0.1:
            raise UserError(f"{where}: expected axis-angle in radians, found a turn of {longest:.1f} (degrees?)")
        return roma.rotvec_to_rotmat(torch.from_numpy(vectors)).numpy()
    matrices = array.reshape(24, 3, 3)
    error = np.abs(matrices @ matrices.transpose(0, 2, 1) - np.eye(3)).max()
    if error > MAX_ROTATION_ERROR or (np.linalg.det(matrices) < 0).any():
        raise UserError(f"{where}: expected rotation matrices, found others (R R^T is off by {error:.2g})")
    return roma.special_procrustes(torch.from_numpy(matrices)).numpy()


def smpl_fit(record: Mapping[str, Any], where: str) -> SmplFit:
    """A record (module docstring) as a checked fit. Raises UserError naming ``where`` and the key."""
    if not isinstance(record, Mapping):
        raise UserError(f"{where}: expected a record of an SMPL fit, found {type(record).__name__}")
    found = {}
    for what, names in KEYS.items():
        if (name := first_key(record, names)) is None:
            have = ", ".join(sorted(map(str, record))) or "nothing"
            raise UserError(f"{where}: no '{names[0]}' (or {', '.join(names[1:])}); it has: {have}")
        found[what] = _numbers(record[name], SIZES[what], f"{where}: '{name}'")
    scale = found["scale"][0]
    if found["camera"][0] <= 0 or scale <= 0:
        raise UserError(f"{where}: expected positive scales, found camera {found['camera'][0]:g}, box {scale:g}")
    if (largest := np.abs(found["betas"]).max()) > MAX_COEFFICIENT:
        raise UserError(f"{where}: expected betas within +-{MAX_COEFFICIENT:g}, found {largest:g}")
    rotations = _rotations(found["pose"], f"{where}: pose")
    return SmplFit(rotations, found["betas"], found["camera"], found["centre"], PIXELS_PER_SCALE * scale)


class SmplFits:
    """SMPL fits by the name (without folders and suffix) of the photo.

    Args:
        path: one file for many photos, or a folder with a file a photo (read when asked for).

    Raises:
        UserError: there is no such file, or it is no table of fits.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._records: dict[str, list[Any]] = {}
        if self.path.is_dir():
            for file in list_files(self.path, SUFFIXES):
                self._records.setdefault(file.stem, []).append(file)
        else:
            for name, record in _records(self.path):
                self._records.setdefault(photo_stem(name), []).append(record)
        if not self._records:
            raise UserError(f"{self.path}: expected SMPL fits ({', '.join(SUFFIXES)}), found none")

    @property
    def names(self) -> list[str]:
        """Names that have a fit, sorted."""
        return sorted(self._records)

    def __getitem__(self, name: str) -> SmplFit:
        """The fit of a photo. Raises UserError: there is none or more than one, or it is not sound."""
        records = self._records.get(name, [])
        if len(records) != 1:
            raise UserError(f"{self.path}: expected one SMPL fit of '{name}', found {len(records) or 'none'}")
        record = records[0]
        if isinstance(record, Path):
            return smpl_fit(_read(record), str(record))
        return smpl_fit(record, f"{self.path}: '{name}'")


def _read(path: Path) -> Any:
    """What an .npz, .json or .pkl file holds."""
    if not path.is_file():
        raise UserError(f"{path}: no such file of SMPL fits")
    try:
        if path.suffix == ".json":
            return json.loads(path.read_bytes())
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as archive:
                return dict(archive)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {reason(error)}") from None
    except Exception as error:  # zipfile, numpy and json raise many kinds for a damaged file
        raise UserError(f"{path}: damaged or cut short ({type(error).__name__}: {error})") from None
    if path.suffix == ".pkl":
        return load_pickle(path)
    raise UserError(f"{path}: expected SMPL fits as {', '.join(SUFFIXES)}, found '{path.suffix}'")


def _records(path: Path) -> list[tuple[str, Any]]:
    """(name, record) of everything in a file for many photos."""
    data = _read(path)
    if isinstance(data, Mapping) and (key := first_key(data, NAME_KEYS)) is not None and np.ndim(data[key]) == 1:
        names = [name.decode() if isinstance(name, bytes) else str(name) for name in np.asarray(data[key]).tolist()]
        used = {name for names_ in KEYS.values() for name in names_}
        table = {key: np.asarray(value) for key, value in data.items() if key in used}
        short = [key for key, column in table.items() if column.shape[:1] != (len(names),)]
        if short:
            raise UserError(f"{path}: '{short[0]}': expected {len(names)} rows as '{key}', found shape "
                            f"{list(table[short[0]].shape)}")  # fmt: skip
        return [(name, {key: column[i] for key, column in table.items()}) for i, name in enumerate(names)]
    if isinstance(data, Mapping) and isinstance(data.get("data"), list):
        data = data["data"]
    if isinstance(data, Mapping):
        return [(str(name), record) for name, record in data.items()]
    if not isinstance(data, list):
        raise UserError(f"{path}: expected a table, list or mapping of SMPL fits, found {type(data).__name__}")
    named = []
    for number, record in enumerate(data):
        key = first_key(record, NAME_KEYS) if isinstance(record, Mapping) else None
        if key is None:
            raise UserError(f"{path}: record {number}: expected a photo's name in '{NAME_KEYS[0]}', found none")
        named.append((str(record[key]), record))
    return named


def load_face_fit(path: str | Path) -> FaceFit:
    """Deep3DFaceRecon's coefficients from a ``.mat`` file. Raises UserError naming the file and the array."""
    data = load_mat(path, "face coefficients")
    whole = _numbers(data["coeff"], (257,), f"{path}: 'coeff'") if "coeff" in data else None
    values = {}
    for name, part in COEFFICIENTS.items():
        value = mat_array(data, name, path) if whole is None else whole[part]
        values[name] = _numbers(value, (part.stop - part.start,), f"{path}: '{name}'")
    if (largest := np.abs(values["angle"]).max()) > np.pi:
        raise UserError(f"{path}: 'angle': expected radians within +-pi, found {largest:.1f} (degrees?)")
    if (largest := max(np.abs(values["id"]).max(), np.abs(values["exp"]).max())) > MAX_COEFFICIENT:
        raise UserError(f"{path}: expected coefficients within +-{MAX_COEFFICIENT:g}, found {largest:g}")
    return FaceFit(values["id"], values["exp"], values["angle"], values["trans"])


def load_five_points(path: str | Path) -> np.ndarray:
    """5-point landmarks [5, 2], pixels of the photo (module docstring). Raises UserError naming the file."""
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file of landmarks")
    try:
        data = path.read_bytes()
        encoding = "utf-16" if data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"  # PowerShell's >
        points = [float(word) for word in data.decode(encoding).replace(",", " ").split()]
    except (OSError, ValueError):
        raise UserError(f"{path}: expected five lines 'x y', found something else") from None
    return _numbers(points, (10,), str(path)).reshape(5, 2)


def bfm_frame(path: str | Path, face: FaceArrays) -> FaceFrame:
    """How Deep3DFaceRecon's own coordinates of the face model in ``path`` lie in canonical space.

    Args:
        path: BFM_model_front.mat.
        face: what :func:`networks.person.face_model.load_bfm` made of it.
    """
    mean = mat_array(load_mat(path, "a face model"), "meanshape", path)
    return face_frame(mean.reshape(-1, 3), face.mean)
