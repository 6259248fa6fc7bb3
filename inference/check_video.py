"""A video to check keyframes by: the input with the fitted mesh drawn over it | a portrait that they drive."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from tqdm import tqdm

from inference.pipeline import PortraitPipeline
from inference.video import open_writer
from networks.cameras import camera_frame
from networks.person.expressions import ARKIT, carried
from networks.person.fitting.fit import UNIT_IN_FRAME
from networks.person.fitting.frames import SCALE, camera, joint_eulers, to_picture
from networks.person.fitting.points import BodyPoints, open_body_model, surface_points
from networks.person.fitting.video import Performance
from networks.person.open_body.parts import EYE, SHIRT
from networks.person.open_body.storage import NUM_ACTIONS, read_open_body
from torch_utils.pixels import image_to_uint8
from torch_utils.video_reader import Frame

HEIGHT = 480  # pixels
SEED, PSI = 3, 0.7  # who is driven
_COLOUR, _OPACITY = np.array([92.0, 160.0, 255.0]), 0.55
_REACH = 0.24  # metres from the middle: head and shoulders, not arms
_LIGHT = np.array([0.25, -0.45, 0.86])  # where from: right, up, and from the viewer


class MeshOverlay:
    """Draws a fitted person's mesh over pictures.

    Args:
        shape: [90] z_id and betas.
    """

    def __init__(self, shape: np.ndarray) -> None:
        body = read_open_body()
        there = body.outer_skin() | (body.part == EYE) | (body.part == SHIRT)
        shown = np.flatnonzero(there & (np.abs(body.v_template[:, 0]) < _REACH))
        self._faces = body.mesh(shown)
        arrays = surface_points(model := open_body_model(), shown[:, None], np.ones((len(shown), 1)))
        person = torch.from_numpy(shape)
        mean = arrays.mean + arrays.shape_basis @ person
        self._points = BodyPoints(model, arrays._replace(mean=mean, shape_basis=arrays.shape_basis[..., :0]))
        self._joints = self._points.joints(person)

    @torch.no_grad()
    def __call__(self, picture: Image.Image, frame: np.ndarray, expression: np.ndarray, scale: float) -> Image.Image:
        """The picture (RGB) with the mesh.

        Args:
            picture: a frame of the video, ``scale`` times as large as where it was tracked.
            frame: [Q] see networks/person/fitting/frames.py.
            expression: [64].
            scale: of the picture.
        """
        points, row = self._points, torch.from_numpy(frame)[None]
        actions = torch.from_numpy(expression[None, :NUM_ACTIONS])
        transforms = points.transforms(self._joints, joint_eulers(row))
        posed = points.pose(points.canonical(torch.zeros(0, dtype=row.dtype), actions), transforms)
        pixels = (scale * (to_picture(posed, row)[0] + 0.5) - 0.5).numpy()
        nearer = camera_frame(camera(row), 1.0)[0][0, :, 2]  # the axis that comes out of the picture
        depth = (posed[0] @ nearer).numpy() * float(row[0, SCALE].exp() * UNIT_IN_FRAME) * scale
        return _shaded(picture, np.column_stack([pixels, depth]), self._faces)


def _shaded(picture: Image.Image, vertices: np.ndarray, faces: np.ndarray) -> Image.Image:
    """Triangles of vertices [V, 3] (pixels x, y, and towards the viewer in the same scale), the farthest ones first."""
    corners = vertices[faces]  # [F, 3, 3]
    one, other = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    normal = -np.cross(one, other)  # y runs down, which turns what winds counter-clockwise
    length = np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
    seen = np.flatnonzero(normal[:, 2] > 0)
    order = seen[np.argsort(corners[seen, :, 2].mean(1), kind="stable")]
    bright = np.clip(0.35 + 0.75 * (normal / length)[order] @ _LIGHT, 0, 1.2)[:, None]
    colours = np.clip(bright * _COLOUR, 0, 255).astype(np.uint8)
    layer = Image.new("RGB", picture.size)
    mask = Image.new("L", picture.size, 0)
    pen, cover = ImageDraw.Draw(layer), ImageDraw.Draw(mask)
    for triangle, colour in zip(corners[order, :, :2].reshape(-1, 6).tolist(), colours.tolist(), strict=True):
        pen.polygon(triangle, fill=tuple(colour))
        cover.polygon(triangle, fill=round(255 * _OPACITY))
    return Image.composite(layer, picture, mask)


def write_check_video(stem: Path, frames: Iterable[Frame], found: Performance, fps: float, ckpt: str | Path) -> None:
    """Writes ``{stem}.mp4``.

    Raises:
        UserError: no such checkpoint, or the place cannot be written to.
    """
    pipe = PortraitPipeline.from_checkpoint(ckpt, device="auto")
    expression = carried(found.expression, ARKIT, pipe.face_model, str(ckpt))
    person, overlay = pipe.person(seed=SEED, psi=PSI), MeshOverlay(found.seen)
    cameras, eulers = found.camera.tolist(), found.joint_eulers
    shown = tqdm(frames, "check.mp4", len(eulers), unit="frame", file=sys.stderr, leave=False)
    with open_writer(stem, "mp4", fps) as writer:
        for i, frame in enumerate(shown):
            height, width = frame.image.shape[:2]
            scale = HEIGHT / height
            picture = Image.fromarray(frame.image).resize((max(1, round(width * scale)), HEIGHT))
            left = overlay(picture, found.frames[i], found.expression[i], scale)
            portrait = person.render(
                expression=torch.from_numpy(expression[i]).float(),
                joint_eulers=torch.from_numpy(eulers[i]).float(),
                camera=(cameras[i][0], cameras[i][1]),
                quality="fast",
            )
            right = Image.fromarray(image_to_uint8(portrait.image)).resize((HEIGHT, HEIGHT))
            canvas = Image.new("RGB", (left.width + left.width % 2 + HEIGHT, HEIGHT))
            canvas.paste(left, (0, 0))
            canvas.paste(right, (canvas.width - HEIGHT, 0))
            writer.add(np.asarray(canvas))
