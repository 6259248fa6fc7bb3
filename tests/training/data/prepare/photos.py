"""Drawn full-body photos with the files that trackers would write, and the truth.

A person stands in a photo of 512 x 1024 pixels. Geometry is SMPL's own (smplx, all 24 joints turned, scipy's rotations)
and SPIN's perspective camera; the face tracker is played by a least-squares fit of Deep3DFaceRecon's camera to the true
landmarks. Nothing comes from the code under test.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.io import savemat
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation
from smplx.lbs import lbs

from networks.cameras import FACE_OFFSET, FACE_RADIUS
from networks.person.body_assets import default_body
from networks.person.body_model import MEAN_POSE
from networks.person.face_model import default_face
from networks.person.tracking import UNIT
from training.data.synthetic import SyntheticPerson, sample_expression, sample_identity, sample_pose_camera
from training.data.synthetic.drawing import camera_view, rasterise

WIDTH, HEIGHT = 512, 1024
FOCAL, CROP = 5000.0, 224.0  # SPIN's camera
DEEP_FOCAL, DEEP_DISTANCE, DEEP_UNIT = 1015.0, 10.0, 0.1 / UNIT
FLIP = np.diag([1.0, -1.0, -1.0])
NECK = -np.array(FACE_OFFSET) / FACE_RADIUS


@dataclass(frozen=True)
class DrawnPhoto:
    """A photo, its tracking and what is true of it."""

    person: SyntheticPerson
    expression: np.ndarray  # [64]
    joint_eulers: np.ndarray  # [6, 3]
    camera: np.ndarray  # [2]
    roll: float
    rotations: np.ndarray  # [24, 3, 3]
    chest: np.ndarray  # [3, 3]
    box: tuple[np.ndarray, float, np.ndarray]  # centre, scale, weak-perspective camera
    landmarks: np.ndarray  # [68, 2] pixels of the photo
    angle: np.ndarray  # [3] Deep3DFaceRecon's
    translation: np.ndarray  # [3]

    @property
    def pose(self) -> np.ndarray:
        """Axis-angle [72]."""
        return Rotation.from_matrix(self.rotations).as_rotvec().ravel()

    def five(self) -> np.ndarray:
        """[5, 2]: eyes, nose, corners of the mouth."""
        m = self.landmarks
        return np.stack([m[[36, 39]].mean(0), m[[42, 45]].mean(0), m[30], m[48], m[54]])

    def draw(self) -> tuple[np.ndarray, np.ndarray]:
        """RGB [1024, 512, 3] on a background, and the mask [1024, 512], uint8."""
        posed, size = self.person.posed(self.expression, self.joint_eulers), 2 * HEIGHT
        canvas, nearest = np.zeros((size * size, 4)), np.full(size * size, np.inf)
        for surface in posed.surfaces:
            pixels, ahead = self._project(self._to_camera(surface.vertices.astype(np.float64)))
            pixels[:, 0] += (HEIGHT - WIDTH) / 2
            sample, face, bary, ahead = rasterise(2 * pixels + 0.5, ahead, surface.faces, size)
            seen = np.flatnonzero(ahead < nearest[sample])
            sample, face, bary, ahead = sample[seen], face[seen], bary[seen], ahead[seen]
            attributes = (surface.attributes[surface.faces[face]] * bary[:, :, None]).sum(1)
            colour, alpha = posed.shader(surface.materials[face], attributes, 2.0)
            canvas[sample] = (
                canvas[sample] * (1 - alpha[:, None])
                + np.column_stack([colour, np.ones(len(colour))]) * (alpha[:, None])
            )
            nearest[sample[alpha > 0.5]] = ahead[alpha > 0.5]
        canvas = canvas.reshape(HEIGHT, 2, HEIGHT, 2, 4).mean((1, 3))[:, (HEIGHT - WIDTH) // 2 :][:, :WIDTH]
        wall = np.linspace([0.45, 0.6, 0.4], [0.7, 0.4, 0.3], HEIGHT)[:, None]
        image = np.clip(canvas[:, :, :3], 0, 1) + (1 - canvas[:, :, 3:]) * wall
        return np.rint(image * 255).astype(np.uint8), np.rint(canvas[:, :, 3] * 255).astype(np.uint8)

    def _body(self) -> tuple[np.ndarray, np.ndarray]:
        """SMPL's vertices and joints, camera axes, metres."""
        return _smpl(self.person.betas, self.rotations)

    def _to_camera(self, canonical: np.ndarray) -> np.ndarray:
        return (canonical - NECK) * UNIT @ self.chest.T + self._body()[1][12]

    def _project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        centre, scale, (s, tx, ty) = self.box
        moved = points + (tx, ty, 2 * FOCAL / (CROP * s))
        return centre + FOCAL * moved[:, :2] / moved[:, 2:] * 200 * scale / CROP, moved[:, 2]


@cache
def _body():
    return default_body()


@cache
def _face():
    return default_face()


def _smpl(betas: np.ndarray, rotations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    v, shape, _, regressor, weights, parents, _ = map(torch.as_tensor, _body())  # it has no pose correctives
    vertices, joints = lbs(
        torch.as_tensor(betas, dtype=torch.float32)[None], torch.as_tensor(rotations, dtype=torch.float32)[None],
        v[None], shape, v.new_zeros(207, v.numel()), regressor, parents, weights, pose2rot=False,
    )  # fmt: skip
    return vertices[0].double().numpy(), joints[0].double().numpy()


def euler_matrix(eulers: np.ndarray) -> np.ndarray:
    """[..., 3] -> Rz(e0) Ry(e1) Rx(e2)."""
    flat = np.asarray(eulers, np.float64).reshape(-1, 3)
    return Rotation.from_euler("ZYX", flat).as_matrix().reshape(*np.shape(eulers), 3)


def make_photo(seed: int, *, camera=None, eulers=None, roll=None, identity=None, expression=None) -> DrawnPhoto:
    """A photo with everything drawn from ``seed`` that is not given."""
    rng = np.random.default_rng([7, seed])
    sampled = sample_pose_camera(rng)
    eulers = sampled.joint_eulers.astype(np.float64) if eulers is None else eulers
    camera = sampled.camera.astype(np.float64) if camera is None else camera
    roll = rng.normal(0, 0.08) if roll is None else roll
    identity = sample_identity(rng) if identity is None else identity
    expression = sample_expression(rng) if expression is None else expression
    person = SyntheticPerson(identity.z_id, identity.eps, identity.betas)
    chest = FLIP @ (camera_view(tuple(camera)).rotation @ euler_matrix([roll, 0, 0])).T
    rotations = euler_matrix(rng.normal(0, 0.08, (24, 3)))
    rotations[12:18] = euler_matrix(eulers) @ euler_matrix(MEAN_POSE)
    rotations[0] = chest @ np.linalg.inv(rotations[3] @ rotations[6] @ rotations[9])
    _, joints = _smpl(person.betas, rotations)
    pixels_per_metre = 530.0
    scale = 1000 / 200
    s = 2 * pixels_per_metre / (200 * scale)
    centre = np.array([WIDTH / 2 + rng.normal(0, 10), 500.0])
    feet = joints[15, 1] + 1.5  # there are no legs: the body ends at the waist
    weak = np.array([s, -joints[15, 0], -(joints[15, 1] - 0.2 + feet) / 2])
    photo = DrawnPhoto(
        person, expression, eulers, camera, roll, rotations, chest, (centre, scale, weak), None, None, None
    )
    head = photo.person.joint_transforms(eulers)[15]
    face = _face()
    marks = (face.mean + face.id_basis @ person.z_id + face.exp_basis @ expression)[face.landmarks].astype(np.float64)
    landmarks = photo._project(photo._to_camera(marks @ head[:3, :3].T + head[:3, 3]))[0]
    turn = FLIP @ chest @ head[:3, :3]
    angle, translation = _track_face(marks, landmarks, turn, face.mean.mean(0), pixels_per_metre)
    return DrawnPhoto(**{**vars(photo), "landmarks": landmarks, "angle": angle, "translation": translation})


def _track_face(marks, landmarks, start, origin, pixels_per_metre):
    """angle, trans of Deep3DFaceRecon's camera that best explain the landmarks in a 224-pixel crop, y up."""
    zoom = DEEP_FOCAL / DEEP_DISTANCE / (0.1 * pixels_per_metre)
    seen = (landmarks - landmarks.mean(0)) * zoom * (1, -1)
    model = (marks - origin) / DEEP_UNIT

    def residual(x):
        points = model @ euler_matrix(x[2::-1]).T + x[3:]
        return (DEEP_FOCAL * points[:, :2] / (DEEP_DISTANCE - points[:, 2:]) - seen).ravel()

    z, y, x = Rotation.from_matrix(start).as_euler("ZYX")
    solution = least_squares(residual, [x, y, z, 0, 0, 0]).x
    return solution[:3], solution[3:]


def write_face(folder: Path, name: str, photo: DrawnPhoto) -> None:
    """NAME.mat and NAME.txt."""
    folder.mkdir(parents=True, exist_ok=True)
    savemat(folder / f"{name}.mat", {
        "id": photo.person.z_id[None], "exp": photo.expression[None], "angle": photo.angle[None],
        "trans": photo.translation[None], "tex": np.zeros((1, 80)), "gamma": np.zeros((1, 27)),
    })  # fmt: skip
    np.savetxt(folder / f"{name}.txt", photo.five(), fmt="%.4f")


def write_fits(path: Path, photos: dict[str, DrawnPhoto]) -> None:
    """SPIN's table."""
    values = list(photos.values())
    np.savez(
        path, imgname=np.array([f"images/{name}.png" for name in photos]), pose=np.stack([p.pose for p in values]),
        shape=np.stack([p.person.betas for p in values]), cam=np.stack([p.box[2] for p in values]),
        center=np.stack([p.box[0] for p in values]), scale=np.array([p.box[1] for p in values]),
    )  # fmt: skip


def write_photos(root: Path, photos: dict[str, DrawnPhoto]) -> list[str]:
    """images/, masks/, face/, fits.npz under ``root``; returns the command line that prepares them."""
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for name, photo in photos.items():
        image, mask = photo.draw()
        Image.fromarray(image).save(root / "images" / f"{name}.png")
        Image.fromarray(mask).save(root / "masks" / f"{name}.png")
        write_face(root / "face", name, photo)
    write_fits(root / "fits.npz", photos)
    return [
        "--images", f"{root}/images", "--masks", f"{root}/masks", "--smpl", f"{root}/fits.npz",
        "--face", f"{root}/face", "--out", f"{root}/out",
    ]  # fmt: skip
