"""From tracking to the labels of this project: SMPL fits and Deep3DFaceRecon coefficients -> poses and cameras.

**SMPL fits** (SPIN, EFT and their kin) describe a photo by the 24 joint rotations R_j of SMPL, its shape, and a
weak-perspective camera whose axes are x right, y down, z away from the viewer. A point X of the posed body appears at
the pixel

    centre + size / 2 * s * (X_xy + t_xy),

where centre and size are those of the person's square box (``size = 200 * scale``). Perspective versions of this camera
(SPIN's: focal length 5000 for 224 pixels) differ from it by less than the width of a hair.

**Pose and camera.** The model moves joints 12..17 (neck, collars, head, shoulders) only; what lies below is at rest.
But joint 9, the parent of neck and collars, is turned in a photo by

    G = R_0 R_3 R_6 R_9                                       (pelvis and spine, each in its parent's frame),

and everything above it follows rigidly. So the chest is taken for the world: a direction d of canonical space is G d
for the tracker's camera, and D G d for a camera of ours (x right, y up, z backward; D = diag(1, -1, -1)). Its
cam2world rotation is therefore C = (D G)^T. Pelvis, spine and camera have become one rotation; the chain above is
untouched:

    R(e_j) R(adjust_j) = R_j,    hence    e_j = euler(R_j R(adjust_j)^T),    j = 12..17,

with ``adjust`` the canonical pose (body_model.MEAN_POSE). C has three angles and a camera (pitch, yaw) has two: with
K(pitch, yaw) the upright camera that looks from the same side, K^T C is a turn by ``roll`` about the line of sight. The
model cannot lean, so a picture has to be turned back by it; :class:`View` carries it along.

**Faces.** Deep3DFaceRecon's camera stands 10 units before the origin, looks along -z, y up; a point X of the face
model is at R X + t with R = Rz(angle_2) Ry(angle_1) Rx(angle_0). With the face model laid into canonical space by
x = scale * Q X + shift (:class:`FaceFrame`), the camera is at scale * Q R^T ((0, 0, 10) - t) + shift in the head's
frame with cam2world rotation Q R^T. That is 0.85 units from the face, and our face camera moves on a sphere of radius 1
around the origin, which lies above the middle of the face. It is put where the line from the middle of the face to the
tracker's camera meets that sphere: both then see the face from the same side. (The direction of the tracker's camera
from the origin would be 0.4 degrees off in pitch, because the nearer camera stands further aside from there.)
"""

from typing import NamedTuple

import numpy as np
import roma
import torch
from torch import Tensor

from networks.cameras import FACE_CAMERA, FACE_OFFSET, FACE_RADIUS, SMPL_SCALE, camera_frame
from networks.person.body_model import HEAD, MEAN_POSE, NECK, POSED_JOINTS, BodyModel, euler_to_matrix
from networks.person.face_model import similarity

SPINE = (0, 3, 6, 9)  # the chain from the pelvis to the parent of neck and collars
UNIT = SMPL_SCALE * FACE_RADIUS  # metres in a canonical unit
MILLIMETRES = 1000 * UNIT  # in a canonical unit
DEEP3D_DISTANCE = 10.0  # of Deep3DFaceRecon's camera from the origin, units of its face model (about 0.1 m)
FIVE_POINTS = ((36, 39), (42, 45), (30, 30), (48, 48), (54, 54))  # iBUG landmarks whose means are the five points


class WeakCamera(NamedTuple):
    """A point X (metres; x right, y down) is seen at the pixel ``centre + pixels_per_metre * (X_xy + shift)``."""

    pixels_per_metre: float
    shift: np.ndarray  # [2] metres
    centre: np.ndarray  # [2] pixels of the photo, x right, y down


class SmplFit(NamedTuple):
    """A person's SMPL fit in one photo; float64."""

    rotations: np.ndarray  # [24, 3, 3] of the joints in their parents' frames; the first is the global rotation
    betas: np.ndarray  # [10]
    camera: WeakCamera | None  # None: the fit does not say where in the photo the person is


class FaceFit(NamedTuple):
    """Deep3DFaceRecon's coefficients of one face; float64."""

    z_id: np.ndarray  # [80]
    z_exp: np.ndarray  # [64]
    angle: np.ndarray  # [3] radians: about x, y, z
    translation: np.ndarray  # [3] units of its face model


class ChestPose(NamedTuple):
    joint_eulers: Tensor  # [B, 6, 3] radians, relative to the canonical pose
    chest: Tensor  # [B, 3, 3] the rotation G from canonical space to the tracker's camera


class View(NamedTuple):
    """An upright camera and the turn that makes it so."""

    camera: Tensor  # [B, 2] pitch, yaw in radians
    roll: Tensor  # [B] radians, counter-clockwise: how far the photo has to be turned to be upright


class FaceFrame(NamedTuple):
    """How Deep3DFaceRecon's face model lies in canonical space: x = scale * rotation @ X + shift."""

    scale: float  # canonical units in one of its units
    rotation: np.ndarray  # [3, 3]
    shift: np.ndarray  # [3] canonical units


def chest_pose(rotations: Tensor) -> ChestPose:
    """SMPL's joint rotations [B, 24, 3, 3] -> Euler angles of joints 12..17, and the turn of the chest."""
    adjust = euler_to_matrix(torch.tensor(MEAN_POSE, dtype=rotations.dtype, device=rotations.device))
    eulers = roma.rotmat_to_euler("ZYX", (rotations[:, POSED_JOINTS] @ adjust.mT).flatten(0, 1))
    chest = roma.rotmat_composition([rotations[:, joint] for joint in SPINE])
    return ChestPose(eulers.unflatten(0, (-1, 6)), chest)


def portrait_view(chest: Tensor) -> View:
    """The portrait camera's label for chests turned by ``chest`` [B, 3, 3]."""
    flip = torch.tensor([1.0, -1.0, -1.0], dtype=chest.dtype, device=chest.device)
    cam2world = (flip[:, None] * chest).mT
    return _view(cam2world, cam2world[:, :, 2])


def face_view(angle: Tensor, translation: Tensor, frame: FaceFrame, centre: Tensor) -> View:
    """The face camera that sees a face from the same side as the tracker's camera.

    Args:
        angle, translation: [B, 3] of Deep3DFaceRecon.
        frame: of its face model.
        centre: [B, 3] the middle of the face, inside the face camera's sphere; head's frame, canonical units.
    """
    model2camera = euler_to_matrix(angle.flip(-1))
    rotation = torch.as_tensor(frame.rotation, dtype=angle.dtype, device=angle.device)
    shift = torch.as_tensor(frame.shift, dtype=angle.dtype, device=angle.device)
    cam2world = rotation @ model2camera.mT
    distance = torch.tensor([0.0, 0.0, DEEP3D_DISTANCE], dtype=angle.dtype, device=angle.device)
    position = frame.scale * torch.einsum("bij,bj->bi", cam2world, distance - translation) + shift
    return _on_sphere(cam2world, torch.nn.functional.normalize(position - centre, dim=-1), centre)


def seen_by_head(camera: Tensor, head: Tensor, centre: Tensor) -> View:
    """The face camera that sees a face from where the portrait camera is, as if both were far away.

    Args:
        camera: [B, 2] the portrait camera's label.
        head: [B, 3, 3] the posed head's rotation in canonical space.
        centre: [B, 3] the middle of the face; head's frame, canonical units.
    """
    cam2world = head.mT @ camera_frame(camera, 1.0)[0]
    return _on_sphere(cam2world, cam2world[:, :, 2], centre)


def _on_sphere(cam2world: Tensor, sight: Tensor, centre: Tensor) -> View:
    """The face camera where the line from ``centre`` along ``sight`` [B, 3] meets its sphere."""
    along = (sight * centre).sum(-1, keepdim=True)
    aside = (centre * centre).sum(-1, keepdim=True) - along**2  # squared distance of the line from the origin
    return _view(cam2world, centre + ((FACE_CAMERA.radius**2 - aside).clamp(min=0).sqrt() - along) * sight)


def _view(cam2world: Tensor, position: Tensor) -> View:
    """The upright camera that looks at the origin from where ``position`` [B, 3] lies, and the turn to it."""
    x, y, z = torch.nn.functional.normalize(position, dim=-1).unbind(-1)
    camera = torch.stack([y.clamp(-1, 1).acos(), torch.atan2(z, x)], -1)
    turn = camera_frame(camera, 1.0)[0].mT @ cam2world
    return View(camera, torch.atan2(turn[:, 1, 0] - turn[:, 0, 1], turn[:, 0, 0] + turn[:, 1, 1]))


class NeckAndHead(NamedTuple):
    """Where joints 12 and 15 are, [2, 3]."""

    photo: np.ndarray  # metres, axes of the tracker's camera, before its translation
    canonical: np.ndarray  # canonical units, posed


def neck_and_head(fit: SmplFit, body: BodyModel) -> NeckAndHead:
    """The joints a portrait is aligned by, as the fit has them and as the model poses them."""
    betas = torch.as_tensor(fit.betas, dtype=body.v_template.dtype)
    with torch.no_grad():
        rest = body.rest_joints(betas[None])[0].double().numpy()  # [24, 3]
    chain = (*SPINE, NECK, HEAD)
    rotation, position, places = np.eye(3), rest[0], {}
    for parent, joint in zip(chain[:-1], chain[1:], strict=True):
        rotation = rotation @ fit.rotations[parent]
        position = position + rotation @ (rest[joint] - rest[parent])
        places[joint] = position
    neck = -np.array(FACE_OFFSET) / FACE_RADIUS  # which canonical space is built around
    head = neck + fit.rotations[NECK] @ (rest[HEAD] - rest[NECK]) / UNIT
    return NeckAndHead(np.stack([places[NECK], places[HEAD]]), np.stack([neck, head]))


def to_pixels(camera: WeakCamera, points: np.ndarray) -> np.ndarray:
    """Pixels [N, 2] of the photo where ``camera`` sees ``points`` [N, 3] (metres, its axes)."""
    return camera.centre + camera.pixels_per_metre * (points[:, :2] + camera.shift)


def five_points(landmarks: np.ndarray) -> np.ndarray:
    """The 68 landmarks [68, C] -> the person's right and left eye, nose, right and left corner of the mouth [5, C]."""
    return landmarks[np.array(FIVE_POINTS)].mean(1)


def face_frame(model_mean: np.ndarray, canonical_mean: np.ndarray) -> FaceFrame:
    """The frame of a face model from its mean face in its own file and in canonical space, both [N, 3].

    Deep3DFaceRecon moves the mean of the vertices to the origin, so that is where ``shift`` lies.
    """
    scale, rotation, _ = similarity(model_mean.astype(np.float64), canonical_mean.astype(np.float64))
    return FaceFrame(scale, rotation, canonical_mean.mean(0).astype(np.float64))
