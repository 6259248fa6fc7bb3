"""Whether the controls do what they are asked to, and leave everything else alone (paper figs. 3 and 4).

Pictures are looked at by a frozen face reconstruction net, so every number contains that net's own error. On
synthetic data the true drawings of the same people are measured in the same way: no generator can be expected to be
better.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from networks.cameras import PORTRAIT_CAMERA, camera_frame, cast_rays, project
from networks.person.body_model import HEAD
from networks.person.face_recon import FACE_RECON_FILE, FaceCoefficients, load_face_recon
from networks.person.framing import face_crop
from networks.person.tracking import MILLIMETRES
from torch_utils.misc import UserError
from training.data.storage import Dataset
from training.metrics.actions import action_response
from training.metrics.recognition import FaceRecognition, recognition_distance
from training.metrics.renderers import Renderer, draw_inputs
from training.metrics.scene import Scene
from training.metrics.shoulders import shoulder_distance
from training.sampling import Inputs, InputSampler

DEPTH_TOLERANCE = 0.02  # canonical units: a point that far behind what is seen there is hidden
TURN = 0.15  # radians to either side, of the two views that are compared
FRAMES = 8  # of a driven video


@dataclass(frozen=True, kw_only=True)
class ControlConfig:
    """What is measured, on how many people."""

    metrics: tuple[str, ...]
    num: int = 64
    seed: int = 0
    face_recon: str = str(FACE_RECON_FILE)

    def __post_init__(self):
        unknown = [name for name in self.metrics if name not in CONTROL_METRICS]
        if unknown:
            raise UserError(f"--metrics: expected some of {', '.join(CONTROL_METRICS)}, found '{unknown[0]}'")
        if "recognition" in self.metrics:
            FaceRecognition()  # before hours of rendering


@torch.no_grad()
def measure_control(
    renderer: Renderer, dataset: Dataset, config: ControlConfig, device: torch.device
) -> dict[str, float]:
    """Numbers by name, ``METRIC/QUANTITY``, of people, poses and cameras drawn from the data set's labels.

    Of a model of one person it is that person in all poses and from all cameras, without what compares people.

    Raises:
        UserError: the face reconstruction net cannot be loaded, or a picture is not finite.
    """
    net = load_face_recon(config.face_recon).to(device)
    inputs = draw_inputs(InputSampler(dataset, None, 0), range(config.num), config.seed)
    names = config.metrics
    if renderer.only is not None:
        names = tuple(name for name in names if name not in OF_PEOPLE)
        who = {name: part.cpu().expand(config.num, -1) for name, part in renderer.only._asdict().items()}
        inputs = inputs._replace(**who)
    scene = Scene(renderer, net, inputs, device)
    return {f"{name}/{quantity}": value for name in names for quantity, value in CONTROL[name](scene).items()}


def expression_distance(scene: Scene) -> dict[str, float]:
    """Average expression distance: between the expression that was asked for and the one found in the face picture.

    ``coefficients``: mean absolute difference of the 64 (AED; Ren et al. 2021, PIRenderer). ``landmarks_mm``: the mean
    distance of the 68 landmarks, identity given, in millimetres; less noisy, for it knows which coefficients show.
    """
    asked, found = scene.inputs, scene.faces(scene.inputs)
    apart = scene.landmarks(asked.z_id, found.z_exp) - scene.landmarks(asked.z_id, asked.z_exp)
    return {
        "coefficients": (found.z_exp - asked.z_exp).abs().mean().item(),
        "landmarks_mm": MILLIMETRES * apart.norm(dim=-1).mean().item(),
    }


def pose_distance(scene: Scene) -> dict[str, float]:
    """Average pose distance (APD; Ren et al. 2021): between the asked and the found (pitch, yaw) of the head, degrees.

    ``face_camera``: of the face camera, in its own pictures. ``head``: of the head before the portrait camera; the
    portrait is cropped to where the head should be, so a head that does not turn is seen from a wrong side.
    """
    inputs, found = scene.inputs, scene.faces(scene.inputs).camera
    if found is None:  # Deep3DFaceRecon's crop takes the camera for granted
        return {}
    frame = scene.render.body.joint_transforms(inputs.betas, inputs.joint_eulers)[:, HEAD]
    crops = []
    for i in range(len(inputs.z_id)):
        row = slice(i, i + 1)
        portrait = scene.view(inputs.part(row), "portrait").image
        crop = face_crop(portrait, frame[row], inputs.camera[row], scene.render.size["face"])
        camera = scene.net.coefficients(crop.to(scene.device)).camera
        assert camera is not None
        crops.append(camera.cpu())
    return {
        "face_camera_degrees": _degrees(found - inputs.face_camera),
        "head_degrees": _degrees(torch.cat(crops) - seen_from_head(inputs.camera, frame)),
    }


def identity_similarity(scene: Scene) -> dict[str, float]:
    """Cosine between the identities found in two pictures of a person, whose expression and camera differ.

    ``same``: mean over people; ``others``: mean over pairs of different people, the floor (Deng et al. 2020 with
    ArcFace; here the reconstruction net's z_id).
    """
    inputs = scene.inputs
    other = inputs._replace(z_exp=inputs.z_exp.roll(1, 0), face_camera=inputs.face_camera.roll(1, 0))
    first, second = (F.normalize(scene.faces(each).z_id, dim=1) for each in (inputs, other))
    cosine = first @ second.T
    same = cosine.diagonal()
    others = (cosine.sum() - same.sum()) / (cosine.numel() - len(same))
    return {"same": same.mean().item(), "others": others.item()}


def view_consistency(scene: Scene) -> dict[str, float]:
    """Reprojection error: every pixel of a portrait is carried by its depth into a portrait from another side.

    ``grey_levels``: mean absolute difference of colours (0..255) over pixels that both see, as in multi-view checks of
    3D GANs (e.g. Xiang et al. 2022). ``visible``: how much of the first picture's person that is.
    """
    inputs = scene.inputs
    step = torch.tensor([0.0, TURN])
    differences, shares = [], []
    for i in range(len(inputs.z_id)):
        row = inputs.part(slice(i, i + 1))
        sides = [row._replace(camera=row.camera + sign * step) for sign in (-1, 1)]
        views = [scene.view(side, "portrait") for side in sides]
        warped = reproject(views, [side.camera for side in sides])
        person = views[0].alpha.flatten(1) > 0.9
        difference = 127.5 * (warped.colour - views[0].image.flatten(2)).abs().mean(1)
        if warped.visible.any():
            differences.append(difference[warped.visible].mean())
        shares.append(warped.visible.sum() / person.sum().clamp_min(1))
    mean = torch.stack(differences).mean().item() if differences else float("nan")
    return {"grey_levels": mean, "visible": torch.stack(shares).mean().item()}


class Reprojection(NamedTuple):
    colour: Tensor  # [B, 3, R] of the second picture, where the first one's pixels lie in it
    visible: Tensor  # [B, R] both pictures see that point


def reproject(views: list, cameras: list[Tensor]) -> Reprojection:
    """Carry the pixels of the first portrait into the second.

    Args:
        views: two :class:`~training.metrics.renderers.Rendered`, of H x W pixels, R = H W.
        cameras: two times [B, 2].
    """
    size = views[0].image.shape[-1]
    rays = cast_rays(cameras[0], PORTRAIT_CAMERA, size)
    points = rays.origins + rays.directions * views[0].depth.flatten(1)[..., None]  # [B, R, 3]
    place = project(points, cameras[1], PORTRAIT_CAMERA)
    grid = place[:, None, :, :2] * torch.tensor([1.0, -1.0])  # rows run down
    second = torch.cat([views[1].image, views[1].depth[:, None], views[1].alpha[:, None]], 1)
    found = F.grid_sample(second, grid, mode="bilinear", align_corners=True)[:, :, 0]  # [B, 5, R]
    colour, depth, alpha = found.split([3, 1, 1], 1)
    seen = (depth[:, 0] - place[..., 2]).abs() < DEPTH_TOLERANCE
    solid = (views[0].alpha.flatten(1) > 0.9) & (alpha[:, 0] > 0.9)
    return Reprojection(colour, seen & solid)


def disentanglement(scene: Scene) -> dict[str, float]:
    """What changes when one factor is redrawn and the others stay (paper fig. 3).

    Factors are what the net tells: identity, expression, camera. ``A_moves_B``: the standard deviation of the B found
    when A alone is redrawn, over that when everything is. ``A_score``: the product over the other factors of (A_moves_A
    / A_moves_other), as in Deng et al. 2020 (DiscoFaceGAN); the net does not tell eps, which should move nothing.
    """
    fields = {"identity": ("z_id", "betas"), "expression": ("z_exp",), "camera": ("face_camera",), "eps": ("z_noise",)}
    total = _spreads(scene.faces(scene.inputs))
    found: dict[str, float] = {}
    for factor, names in fields.items():
        fixed = {name: value[:1].expand_as(value) for name, value in scene.inputs._asdict().items()}
        redrawn = Inputs(**(fixed | {name: getattr(scene.inputs, name) for name in names}))
        spreads = {name: value / total[name] for name, value in _spreads(scene.faces(redrawn)).items()}
        if factor in spreads:
            others = [value for name, value in spreads.items() if name != factor]
            found[f"{factor}_score"] = torch.stack([spreads[factor] / value for value in others]).prod().item()
        found |= {f"{factor}_moves_{name}": value.item() for name, value in spreads.items()}
    return found


def temporal_stability(scene: Scene) -> dict[str, float]:
    """Flicker of a driven video: how far a frame is from the mean of its neighbours, grey levels (0..255).

    The warping error of Lai et al. 2018 (Learning Blind Video Temporal Consistency) with motion taken as even in place
    of an optical flow. A person goes smoothly from one expression, pose and camera to the next. ``flicker`` is the mean
    absolute second difference over the pixels that change, ``motion`` the mean absolute first one; the drawing of the
    same video says how much of it is motion itself.
    """
    inputs = scene.inputs
    flicker, motion = [], []
    times = torch.linspace(0, 1, FRAMES)
    for i in range(min(len(inputs.z_id) - 1, 8)):
        ends = inputs.part(slice(i, i + 2))
        frames = []
        for t in times:
            between = {n: _between(getattr(ends, n), t) for n in ("z_exp", "joint_eulers", "camera")}
            still = ends.part(slice(0, 1))
            frames.append(scene.view(still._replace(**between), "portrait").image)
        video = 127.5 * torch.cat(frames)
        first = video[1:] - video[:-1]
        moving = (video.amax(0) - video.amin(0)) > 1
        flicker.append((first[1:] - first[:-1]).abs()[:, moving].mean())
        motion.append(first.abs()[:, moving].mean())
    return {"flicker": torch.stack(flicker).nanmean().item(), "motion": torch.stack(motion).nanmean().item()}


def _between(ends: Tensor, t: Tensor) -> Tensor:
    """[2, ...] -> [1, ...] at ``t`` in 0..1."""
    return torch.lerp(ends[:1], ends[1:], t)


CONTROL: dict[str, Callable[[Scene], dict[str, float]]] = {
    "expression": expression_distance,
    "actions": action_response,
    "pose": pose_distance,
    "shoulders": shoulder_distance,
    "identity": identity_similarity,
    "consistency": view_consistency,
    "disentanglement": disentanglement,
    "temporal": temporal_stability,
    "recognition": recognition_distance,
}
CONTROL_METRICS = tuple(CONTROL)
OF_PEOPLE = ("identity", "disentanglement", "recognition")  # which compare them
OPTIONAL_METRICS = ("recognition",)  # not part of `control`: it needs packages that may not be installed


def seen_from_head(camera: Tensor, frame: Tensor) -> Tensor:
    """(pitch, yaw) [B, 2] of the portrait cameras [B, 2] as heads with rigid transforms [B, 4, 4] see them."""
    origin = camera_frame(camera, PORTRAIT_CAMERA.radius)[1] + torch.tensor(PORTRAIT_CAMERA.offset)
    away = torch.einsum("bji,bj->bi", frame[:, :3, :3], origin - frame[:, :3, 3])
    x, y, z = F.normalize(away, dim=-1).unbind(-1)
    return torch.stack([y.clamp(-1, 1).acos(), torch.atan2(z, x)], -1)


def _degrees(difference: Tensor) -> float:
    return difference.abs().rad2deg().mean().item()


def _spreads(found: FaceCoefficients) -> dict[str, Tensor]:
    """Root of the mean variance over people of each factor that the net tells."""
    factors = {"identity": found.z_id, "expression": found.z_exp, "camera": found.camera}
    return {name: value.var(0).mean().sqrt() for name, value in factors.items() if value is not None}
