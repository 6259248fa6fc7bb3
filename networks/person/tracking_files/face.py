"""Face coefficients and landmarks (formats: this package's docstring)."""

import codecs
from pathlib import Path

import numpy as np

from networks.person.face_model import FaceArrays
from networks.person.tracking import FaceFit, FaceFrame, face_frame
from networks.person.tracking_files.record import MAX_COEFFICIENT, numbers
from torch_utils.mat_file import load_mat, mat_array
from torch_utils.misc import UserError

# Deep3DFaceRecon's 257 numbers; texture and light are not used.
COEFFICIENTS = {"id": slice(0, 80), "exp": slice(80, 144), "angle": slice(224, 227), "trans": slice(254, 257)}


def load_face_fit(path: str | Path) -> FaceFit:
    """Deep3DFaceRecon's coefficients from a ``.mat`` file. Raises UserError naming the file and the array."""
    data = load_mat(path, "face coefficients")
    whole = numbers(data["coeff"], (257,), f"{path}: 'coeff'") if "coeff" in data else None
    values = {}
    for name, part in COEFFICIENTS.items():
        value = mat_array(data, name, path) if whole is None else whole[part]
        values[name] = numbers(value, (part.stop - part.start,), f"{path}: '{name}'")
    if (largest := np.abs(values["angle"]).max()) > np.pi:
        raise UserError(f"{path}: 'angle': expected radians within +-pi, found {largest:.1f} (degrees?)")
    if (largest := max(np.abs(values["id"]).max(), np.abs(values["exp"]).max())) > MAX_COEFFICIENT:
        raise UserError(f"{path}: expected coefficients within +-{MAX_COEFFICIENT:g}, found {largest:g}")
    return FaceFit(values["id"], values["exp"], values["angle"], values["trans"])


def load_five_points(path: str | Path) -> np.ndarray:
    """5-point landmarks [5, 2], pixels of the photo (this package's docstring). Raises UserError naming the file."""
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file of landmarks")
    try:
        data = path.read_bytes()
        encoding = "utf-16" if data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"  # PowerShell's >
        points = [float(word) for word in data.decode(encoding).replace(",", " ").split()]
    except (OSError, ValueError):
        raise UserError(f"{path}: expected five lines 'x y', found something else") from None
    return numbers(points, (10,), str(path)).reshape(5, 2)


def bfm_frame(path: str | Path, face: FaceArrays) -> FaceFrame:
    """How Deep3DFaceRecon's own coordinates of the face model in ``path`` lie in canonical space.

    Args:
        path: BFM_model_front.mat.
        face: what :func:`networks.person.face_model.load_bfm` made of it.
    """
    mean = mat_array(load_mat(path, "a face model"), "meanshape", path)
    return face_frame(mean.reshape(-1, 3), face.mean)
