"""Whether shoulders rise and sink as they are asked to, by the outline of the portrait: no net looks at shoulders."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from networks.cameras import PORTRAIT_CAMERA, project, to_pixels
from networks.person.body_model import BodyModel
from networks.person.tracking import UNIT
from training.data.synthetic import ColouredMesh, draw_mesh
from training.metrics.scene import Scene

if TYPE_CHECKING:
    from training.metrics.renderers import Rendered
    from training.sampling import Inputs

NECK, LEFT_SHOULDER, RIGHT_SHOULDER = 12, 16, 17  # joints
COLLARS, SHOULDERS = [1, 2], [4, 5]  # rows of joint_eulers, left and right
# Of the left and the right collar, radians, by person in turn: about the strongest shrugs of synthetic people.
LIFTS = ((0.2, 0.0), (0.0, 0.2), (0.2, 0.2), (-0.1, -0.1))
COLOURED = 0.25  # a person's pixels are at least so far from white
BAND = (0.75, 1.0)  # of the way from the neck's column to the shoulder joint's: outside the head, inside the arm


def shoulder_distance(scene: Scene) -> dict[str, float]:
    """How far shoulders move in the outline of the portrait, against the body model's own.

    Every person is drawn with shoulders at rest and lifted (LIFTS); how much higher the outline's upper edge is above
    either shoulder is what was found. The bare body in both poses, seen by the same camera, says what was asked for.
    This is average pose distance (Ren et al. 2021) for a pose that face nets do not tell. Clothes and hair are in both
    pictures; where they do not follow the body, the true drawing's numbers tell as well.

    ``distance_mm``: mean absolute difference of found and asked, left and right, in millimetres. ``asked_mm``: mean
    absolute height that was asked for, the distance of a model without shoulder control. ``gain``: slope of found on
    asked through zero; 1 is obedient, 0 is deaf.
    """
    asked: list[Tensor] = []
    found: list[Tensor] = []
    for i in range(len(scene.inputs.z_id)):
        row = scene.inputs.part(slice(i, i + 1))
        still, row = with_shoulders(row, (0.0, 0.0)), with_shoulders(row, LIFTS[i % len(LIFTS)])
        bands, millimetres = shoulder_bands(scene.render.body, still, scene.render.size["portrait"])
        pictures = [coverage(scene.view(each, "portrait")) for each in (row, still)]
        bodies = [body_outline(scene.render.body, each, scene.render.size["portrait"]) for each in (row, still)]
        for outlines, heights in ((pictures, found), (bodies, asked)):
            moved, stayed = (torch.stack([edge_height(outline, band) for band in bands]) for outline in outlines)
            heights.append(millimetres * (moved - stayed))
    asked_mm, found_mm = torch.stack(asked), torch.stack(found)  # [N, 2]
    seen = asked_mm.isfinite() & found_mm.isfinite()  # a band may lie outside the picture
    asked_mm, found_mm = asked_mm[seen], found_mm[seen]
    return {
        "distance_mm": (found_mm - asked_mm).abs().mean().item(),
        "asked_mm": asked_mm.abs().mean().item(),
        "gain": ((found_mm * asked_mm).sum() / asked_mm.square().sum()).item(),
    }


def coverage(portrait: Rendered) -> Tensor:
    """How much of every pixel is a person, [H, W] in 0..1: alpha, but of a model that paints the white backdrop, which
    discriminators cannot tell from nothing, distance from white."""
    alpha, corner = portrait.alpha[0], max(1, portrait.alpha.shape[-1] // 16)
    if torch.cat([alpha[:corner, :corner], alpha[:corner, -corner:]]).mean() < 0.5:
        return alpha
    distance = (1 - portrait.image[0].amin(0)) / 2  # of the channel that is least white
    return (distance / COLOURED).clamp(0, 1)


def with_shoulders(inputs: Inputs, lift: tuple[float, float]) -> Inputs:
    """The same with the left and the right collar lifted, and arms that keep hanging."""
    eulers = inputs.joint_eulers.clone()
    eulers[:, [*COLLARS, *SHOULDERS]] = 0
    # The left collar rises with +Rz, the right one with -Rz.
    rise = torch.tensor([lift[0], -lift[1]], dtype=eulers.dtype)
    eulers[:, COLLARS, 0], eulers[:, SHOULDERS, 0] = rise, -rise
    return inputs._replace(joint_eulers=eulers)


def shoulder_bands(body: BodyModel, inputs: Inputs, size: int) -> tuple[list[tuple[float, float]], Tensor]:
    """First and last column of the left and the right shoulder of one person, and the millimetres in a pixel there."""
    joints = body.canonical_joints(inputs.betas)
    transforms = body.joint_transforms(inputs.betas, inputs.joint_eulers)
    posed = (transforms[..., :3, :3] @ joints[..., None]).squeeze(-1) + transforms[..., :3, 3]
    place = project(posed[:, [NECK, LEFT_SHOULDER, RIGHT_SHOULDER]], inputs.camera, PORTRAIT_CAMERA)[0]  # [3, 3]
    neck, *shoulders = to_pixels(place, size)[:, 0].tolist()
    bands = [tuple(sorted(neck + share * (shoulder - neck) for share in BAND)) for shoulder in shoulders]
    half = math.tan(math.radians(PORTRAIT_CAMERA.fov_degrees) / 2) * place[1:, 2].mean()
    return bands, 1000 * UNIT * 2 * half / (size - 1)


def edge_height(alpha: Tensor, band: tuple[float, float]) -> Tensor:
    """Mean height in pixels, above the lower border, of the upper edge of what is opaque in columns of [H, W].

    What is below the first opaque pixel counts as opaque; the edge's own pixel counts by its alpha. NaN where the band
    is outside the picture.
    """
    first, last = math.ceil(band[0]), math.floor(band[1])
    if first < 0 or last >= alpha.shape[1] or last < first:
        return torch.tensor(torch.nan)
    return alpha[:, first : last + 1].cummax(0).values.sum(0).mean()


def body_outline(body: BodyModel, inputs: Inputs, size: int) -> Tensor:
    """Alpha [H, W] of the bare body of one person."""
    vertices = body.posed_vertices(inputs.betas, inputs.joint_eulers)[0].numpy()
    mesh = ColouredMesh(vertices, body.faces.numpy(), 0 * vertices)
    return torch.from_numpy(draw_mesh(mesh, inputs.camera[0].tolist(), size).alpha)
