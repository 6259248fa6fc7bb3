"""3D morphable face: S = S_mean + B_id z_id + B_exp z_exp (paper eq. 7), in canonical coordinates.

The open face serves by default; `load_bfm` reads a user's own BFM_model_front.mat (see smpl_models/README.md).
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from networks.person.open_body.parts import EYE, LABEL_NAMES, SKIN, TEETH, TONGUE
from networks.person.open_body.storage import read_open_body
from torch_utils.assets import find_asset
from torch_utils.mat_file import load_mat, mat_array
from torch_utils.misc import UserError

NUM_IDENTITY = 80
NUM_EXPRESSION = 64
NUM_LANDMARKS = 68


class FaceArrays(NamedTuple):
    """A morphable face in canonical coordinates and units; a coefficient of 1 is one standard deviation."""

    mean: np.ndarray  # [N, 3] float32
    id_basis: np.ndarray  # [N, 3, 80] float32
    exp_basis: np.ndarray  # [N, 3, 64] float32
    faces: np.ndarray  # [F, 3] int64
    landmarks: np.ndarray  # [68] int64 vertex indices, iBUG order (jaw 0-16 from the person's right ear)


def default_face() -> FaceArrays:
    """The open face: the head of the open body with eyes, teeth, tongue and lashes; read from its file every time.

    Its first 52 expression directions are the facial actions (open_body/actions.py), each 0..1, the others 0.

    Raises:
        UserError: the file is missing or damaged.
    """
    body = read_open_body()
    kept = body.face_vertices
    among = np.isin(body.head_vertices, kept)
    return FaceArrays(
        mean=body.head_mean[among],
        id_basis=body.id_basis[among],
        exp_basis=body.exp_basis[among],
        faces=body.mesh(kept),
        landmarks=np.searchsorted(kept, body.landmarks),
    )


def default_face_skin() -> np.ndarray:
    """Indices of the open face's vertices that are skin and seen, neither in the mouth nor behind the eyes."""
    body = read_open_body()
    return np.flatnonzero(body.outer_skin()[body.face_vertices])


class FaceOpenings(NamedTuple):
    """Indices of the open face's vertices where it opens."""

    rims: np.ndarray  # edges of lids and lips
    lids: np.ndarray  # all of lids and lips, the rims included
    between: np.ndarray  # what may be seen between them: eyes, teeth, tongue and the mouth's inner skin


def default_face_openings() -> FaceOpenings:
    """Of the open face; see :class:`FaceOpenings`."""
    body = read_open_body()
    kept = body.face_vertices
    part, label = body.part[kept], {name: body.labels[kept, i] for i, name in enumerate(LABEL_NAMES)}
    outside = (part == SKIN) & (label["mouth_inside"] < 128) & (label["eye_socket"] < 128)
    between = np.isin(part, (EYE, TEETH, TONGUE)) | ((part == SKIN) & (label["mouth_inside"] >= 128))
    rims, lids = (outside & (np.maximum(label["eyelids"], label["lips"]) >= least) for least in (128, 8))
    return FaceOpenings(np.flatnonzero(rims), np.flatnonzero(lids), np.flatnonzero(between))


def at_landmarks(face: FaceArrays) -> FaceArrays:
    """The 68 landmarks as a face by themselves: what is only asked for them costs a hundredth of the whole."""
    index = face.landmarks
    return FaceArrays(
        face.mean[index], face.id_basis[index], face.exp_basis[index], face.faces[:0], np.arange(len(index))
    )


def similarity(source: np.ndarray, target: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Closed-form least-squares similarity: target ~ scale * source @ rotation.T + shift (Umeyama 1991).

    source, target: [N, 3]. Returns scale, rotation [3, 3] (proper), shift [3].
    """
    source_mean, target_mean = source.mean(0), target.mean(0)
    a, b = source - source_mean, target - target_mean
    u, s, vt = np.linalg.svd(b.T @ a)
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    rotation = (u * sign) @ vt
    scale = float((s * sign).sum() / (a * a).sum())
    return scale, rotation, target_mean - scale * rotation @ source_mean


def _finite_array(data: dict, name: str, path: Path) -> np.ndarray:
    value = np.asarray(mat_array(data, name, path))
    if value.dtype.kind not in "fiu":
        raise UserError(f"{path}: '{name}' should be an array of numbers, found {value.dtype}")
    if not np.isfinite(value).all():
        raise UserError(f"{path}: '{name}' holds NaN or infinity")
    return value


def _one_based(value: np.ndarray, count: int, name: str, path: Path) -> np.ndarray:
    """Whole numbers 1..count -> int64 indices from 0."""
    if (value != np.round(value)).any() or value.min() < 1 or value.max() > count:
        raise UserError(f"{path}: '{name}' should hold vertex numbers 1..{count}, found {value.min()}..{value.max()}")
    return value.astype(np.int64) - 1


def load_bfm(path: str | Path) -> FaceArrays:
    """Reads BFM_model_front.mat (layout of Deep3DFaceRecon): meanshape [1, 3N], idBase [3N, 80], exBase [3N, 64],
    tri [F, 3] and keypoints [1, 68], both numbered from 1.

    The mean is registered to the open face by a closed-form similarity on the 68 landmarks, and both bases are
    turned and scaled with it. Raises UserError with the file's name.
    """
    path = find_asset(path)
    data = load_mat(path, "a face model (see smpl_models/README.md)")
    mean = _finite_array(data, "meanshape", path).astype(np.float64)
    if mean.size == 0 or mean.size % 3:
        raise UserError(f"{path}: 'meanshape' should have shape [1, 3N], found {list(mean.shape)}")
    count = mean.size // 3
    bases = {}
    for name, width in (("idBase", NUM_IDENTITY), ("exBase", NUM_EXPRESSION)):
        base = _finite_array(data, name, path).astype(np.float64)
        if base.shape != (3 * count, width):
            raise UserError(f"{path}: '{name}' should have shape {[3 * count, width]}, found {list(base.shape)}")
        bases[name] = base.reshape(count, 3, width)
    faces = _finite_array(data, "tri", path)
    if faces.ndim != 2 or faces.shape[1] != 3 or faces.size == 0:
        raise UserError(f"{path}: 'tri' should have shape [F, 3], found {list(faces.shape)}")
    landmarks = _finite_array(data, "keypoints", path).ravel()
    if len(landmarks) != NUM_LANDMARKS:
        raise UserError(f"{path}: 'keypoints' should hold {NUM_LANDMARKS} vertex numbers, found {len(landmarks)}")
    landmarks = _one_based(landmarks, count, "keypoints", path)

    mean = mean.reshape(count, 3)
    target = default_face()
    scale, rotation, shift = similarity(mean[landmarks], target.mean[target.landmarks].astype(np.float64))
    return FaceArrays(
        mean=(scale * mean @ rotation.T + shift).astype(np.float32),
        id_basis=(scale * np.einsum("ij,njk->nik", rotation, bases["idBase"])).astype(np.float32),
        exp_basis=(scale * np.einsum("ij,njk->nik", rotation, bases["exBase"])).astype(np.float32),
        faces=_one_based(faces, count, "tri", path),
        landmarks=landmarks,
    )


class FaceModel(nn.Module):
    """Morphable face as a module: buffers only, nothing is learned."""

    mean: torch.Tensor
    id_basis: torch.Tensor
    exp_basis: torch.Tensor
    faces: torch.Tensor
    landmark_index: torch.Tensor

    def __init__(self, arrays: FaceArrays) -> None:
        super().__init__()
        for name, value in zip(("mean", "id_basis", "exp_basis", "faces", "landmark_index"), arrays, strict=True):
            self.register_buffer(name, torch.tensor(value))  # a copy

    def forward(self, z_id: torch.Tensor, z_exp: torch.Tensor) -> torch.Tensor:
        """z_id [B, 80], z_exp [B, 64] -> vertices [B, N, 3], canonical units (eq. 7)."""
        shape = torch.einsum("nck,bk->bnc", self.id_basis, z_id)
        return self.mean + shape + torch.einsum("nck,bk->bnc", self.exp_basis, z_exp)

    def landmarks(self, vertices: torch.Tensor) -> torch.Tensor:
        """vertices [B, N, 3] -> the 68 landmarks [B, 68, 3]."""
        return vertices[:, self.landmark_index]

    def landmark_points(self, z_id: torch.Tensor, z_exp: torch.Tensor) -> torch.Tensor:
        """The landmarks of S(z_id, z_exp) without the rest of it: z_id [B, 80], z_exp [B, 64] -> [B, 68, 3]."""
        index = self.landmark_index
        shape = torch.einsum("nck,bk->bnc", self.id_basis[index], z_id)
        return self.mean[index] + shape + torch.einsum("nck,bk->bnc", self.exp_basis[index], z_exp)
