"""One photo of somebody -> a portrait as the model's own camera takes it, and what the person does in it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from networks.cameras import PORTRAIT_CAMERA
from networks.person.body_model import HEAD
from networks.person.face_recon import FaceReconstructor
from networks.person.fitting.fit import Fit
from networks.person.fitting.frames import ROLL, camera, joint_eulers, similarity
from networks.person.fitting.measured import Landmarks, expressions, landmarks, observed
from networks.person.fitting.points import open_body_model
from networks.person.fitting.video import fit_known
from networks.person.framing import (
    HAIR,
    Cut,
    Placement,
    cut,
    cut_off,
    end_with,
    face_crop,
    frame_points,
    on_white,
    resample,
)
from networks.person.tracker.follow import LEAST, Sighting, Track, Tracker
from networks.person.tracking import View
from torch_utils.misc import UserError

MAX_ERROR = 6.0  # mm: root mean square distance of the landmarks from the fit
MIN_SIDE = 64.0  # pixels of the photo that a portrait must be wide
_READ_SIZE, _FACE_SIZE = 256, 128  # pixels a side of the portrait, and of the face in it, that the face net reads


class TrackedPhoto(NamedTuple):
    """A person in a photo; labels as data sets have them, float32."""

    source: Cut  # the photo round the person, on white
    placement: Placement  # of the photo in the portrait camera's frame
    z_id: Tensor  # [80]
    betas: Tensor  # [10]
    expression: Tensor  # [64]
    joint_eulers: Tensor  # [6, 3] radians
    camera: Tensor  # [2] pitch, yaw in radians
    error: float  # root mean square distance of the landmarks from the fit, mm

    def picture(self, size: int) -> tuple[Tensor, Tensor]:
        """The portrait [3, size, size] in -1..1 on white, and how far its pixels show the person [size, size] 0..1."""
        image, mask = (np.array(part, np.float32) for part in resample(self.source, self.placement, size))
        return torch.from_numpy(image / 127.5 - 1).permute(2, 0, 1), torch.from_numpy(mask / 255)


def fit_sightings(
    size: tuple[int, int], sightings: list[Sighting], marks: Landmarks, read: Callable[[Fit], Tensor] | None = None
) -> Fit:
    """The person of all sightings in pictures of ``size`` (w, h), and what each of them shows; see fit_known."""
    fields = zip(*sightings, strict=True)
    parts = (np.stack([np.asarray(part, np.float32) for part in field]) for field in fields)
    track = Track(size, np.arange(len(sightings), dtype=np.float64), *parts)
    return fit_known(observed(track, marks), marks, read)


def portrait_placement(fit: Fit, row: int) -> Placement:
    """How a frame of a fit lies in the portrait camera's frame."""
    matrix, shift = similarity(fit.frames[row : row + 1])
    inverse = torch.linalg.inv(matrix[0])
    return Placement(inverse.numpy(), -(inverse @ shift[0]).numpy())


@torch.no_grad()
def read_identity(net: FaceReconstructor, photo: Image.Image, mask: Image.Image, fit: Fit) -> Tensor:
    """z_id [80] float64 as the face net reads it in a photo whose person (``mask``, L) is placed by a fit of one."""
    placement = portrait_placement(fit, 0)
    picture = resample(on_white(cut(photo, mask, [placement])), placement, _READ_SIZE)[0]
    image = torch.from_numpy(np.array(picture, np.float32) / 127.5 - 1).permute(2, 0, 1)[None]
    head = open_body_model().joint_transforms(fit.shape[None, 80:], joint_eulers(fit.frames))[:, HEAD]
    crop = face_crop(image, head.float(), camera(fit.frames).float(), _FACE_SIZE)
    return net.coefficients(crop).z_id[0].double()


def track_photo(photo: Image.Image, person: int | None = None, face: FaceReconstructor | None = None) -> TrackedPhoto:
    """Finds a person in a photo (RGB).

    Args:
        photo: any size.
        person: whom, counted from 0 from the left; None: the largest face.
        face: the net of the open face, if it is to say who that is, too.

    Raises:
        UserError: nobody is there, or too small, or the fit does not hold; or the detectors are not to be had.
    """
    tracker = Tracker(person)
    seen = tracker.step(photo)
    if seen.face_score < LEAST:
        who = "a face" if not tracker.most_faces else f"so many people that there is a number {person}"
        raise UserError(f"expected {who} in the photo, found {tracker.most_faces or 'none'}")
    mask = Image.fromarray(tracker.mask(photo))
    read = None if face is None else partial(read_identity, face, photo, mask)
    fit = fit_sightings(photo.size, [seen], landmarks(), read)
    if (error := float(fit.error[0])) > MAX_ERROR:
        raise UserError(f"landmarks lie {error:.1f} mm from the fitted face, expected {MAX_ERROR:g} or less")
    placement = portrait_placement(fit, 0)
    if placement.side < MIN_SIDE:
        found = f"a portrait {placement.side:.0f} pixels wide"
        raise UserError(f"expected the person larger, {MIN_SIDE:g} pixels or more, found {found}")
    view, eulers, betas = View(camera(fit.frames), fit.frames[:, ROLL]), joint_eulers(fit.frames), fit.shape[None, 80:]
    vertices = open_body_model().posed_vertices(betas, eulers)[0]
    body = frame_points(vertices.numpy(), view, PORTRAIT_CAMERA)
    source = _whole(photo, mask, placement, body)
    return TrackedPhoto(
        on_white(source), placement, fit.shape[:80].float(), fit.shape[80:].float(),
        expressions(fit.actions)[0].float(), eulers[0].float(), view.camera[0].float(), error,
    )  # fmt: skip


def _whole(photo: Image.Image, mask: Image.Image, placement: Placement, body: np.ndarray) -> Cut:
    """What of a photo the portrait shows; where its edge cuts the person off, they go on as far as their body does."""
    sides = cut_off(mask, placement)
    source = cut(photo, mask, [placement], fill=sides)
    if not sides:
        return source
    return end_with(source, placement.pixels(body), HAIR * placement.side, photo.size)
