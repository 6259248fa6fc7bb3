"""Where a photo's pixels belong in the frames of the portrait camera and the face camera.

Coordinates are those of ``networks.person.framing``.

**Portrait** (method notes, section 4: crops aligned by projected head and neck joints). The photo is turned by the
view's roll; its scale is such that a metre at the middle between head and neck joint appears as long as our camera
shows it there; and it is shifted so that this middle lies where our camera sees it. How far apart the joints are in the
picture is not used: they lie at different depths, and our camera is so near (2.2 m) that the portrait would come out 4%
too small. A fit that does not say where in the photo the person is has its portrait placed by the face instead: so that
the five detected landmarks lie where our camera sees them on the posed head.

**Face** (paper section 3.2). The face camera sees the five landmarks of the 3DMM face (identity and expression of the
photo's coefficients) from where the tracker says; the photo is turned by that view's roll, scaled and shifted so that
its five detected landmarks lie on them, by least squares.
"""

import math

import numpy as np

from networks.cameras import FACE_CAMERA, PORTRAIT_CAMERA, CameraModel, camera_frame
from networks.person.body_model import BodyModel
from networks.person.framing import Placement, frame_points
from networks.person.tracking import UNIT, SmplFit, View, WeakCamera, five_points, neck_and_head, to_pixels
from torch_utils.misc import UserError

MAX_MISFIT = 0.25  # of the five landmarks from the 3DMM's, in units of their own spread
MAX_POSED_MISFIT = 0.5  # of those that the SMPL head, whose turn is less certain, carries


def portrait_placement(fit: SmplFit, camera: WeakCamera, body: BodyModel, view: View) -> Placement:
    """How a photo seen by the fit's ``camera`` lies in the portrait camera's frame; ``view`` of one (B = 1) camera."""
    joints = neck_and_head(fit, body)
    middle = joints.canonical.mean(0, keepdims=True)
    axes, _ = camera_frame(view.camera, PORTRAIT_CAMERA.radius)
    depth = PORTRAIT_CAMERA.radius - (middle[0] - PORTRAIT_CAMERA.offset) @ axes[0, :, 2].numpy()
    focal = 1.0 / math.tan(math.radians(PORTRAIT_CAMERA.fov_degrees) / 2)
    frame_per_metre = focal / depth / UNIT
    matrix = frame_per_metre / camera.pixels_per_metre * _turn(view)
    seen = to_pixels(camera, joints.photo.mean(0, keepdims=True))
    shift = frame_points(middle, view, PORTRAIT_CAMERA) - seen @ matrix.T
    return Placement(matrix, shift[0])


def face_placement(
    landmarks: np.ndarray,
    points: np.ndarray,
    view: View,
    model: CameraModel = FACE_CAMERA,
    max_misfit: float = MAX_MISFIT,
) -> Placement:
    """How a photo lies in the frame of a camera that sees its face.

    Args:
        landmarks: [68, 3] of the 3DMM face, canonical units: in the head's frame for the face camera, posed for the
            portrait camera.
        points: [5, 2] the five detected landmarks, pixels of the photo.
        view: the camera's (B = 1).
        model: which camera it is.
        max_misfit: how far the two may disagree, in units of their own spread.

    Raises:
        UserError: they disagree more: they are not of the same face, or the points are in another order or not in
            pixels of this photo.
    """
    turn = _turn(view)
    target = frame_points(five_points(landmarks), view, model)
    turned = points @ turn.T
    a, b = turned - turned.mean(0), target - target.mean(0)
    scale = (a * b).sum() / max((a * a).sum(), 1e-12)
    misfit = math.sqrt(((scale * a - b) ** 2).sum() / (b * b).sum())
    if scale <= 0 or misfit > max_misfit:
        raise UserError(
            f"the five landmarks disagree with the face's coefficients: expected a misfit up to {max_misfit} of their "
            f"spread, found {misfit:.2f}; are they of the same face, in the documented order, in pixels of the photo?"
        )
    return Placement(scale * turn, target.mean(0) - scale * turned.mean(0))


def _turn(view: View) -> np.ndarray:
    """[2, 2] that turns a photo, y down, by the view's roll (which is counter-clockwise as seen)."""
    c, s = math.cos(view.roll.item()), math.sin(view.roll.item())
    return np.array([[c, s], [-s, c]])
