"""Control metrics: of true drawings and of hand-made scenes, where the answers are known."""

import math

import numpy as np
import pytest
import torch

from networks.cameras import PORTRAIT_CAMERA, cast_rays
from networks.person.body_model import HEAD
from networks.person.expressions import columns_of
from networks.person.face_recon import FaceCoefficients
from tests.training.tiny_run import make_sampler
from torch_utils.misc import UserError
from training.data.synthetic.portrait import seen_from_head as seen_by_drawer
from training.metrics.actions import ACTIONS, LEVELS, action_response, one_at_a_time
from training.metrics.control import (
    MILLIMETRES,
    ControlConfig,
    disentanglement,
    expression_distance,
    identity_similarity,
    reproject,
    seen_from_head,
    temporal_stability,
    view_consistency,
)
from training.metrics.renderers import DrawingRenderer, Rendered, draw_inputs
from training.metrics.scene import Scene

CPU = torch.device("cpu")
SIZE = 24


class Canvas:
    """A renderer whose pictures carry the inputs in their pixels, for a net that reads them there."""

    name, size, face_model, only = "canvas", {"portrait": SIZE, "face": SIZE}, "arkit", None

    def __init__(self, ignore=()):
        self.ignore = ignore

    def __call__(self, inputs, views):
        parts = {"z_id": inputs.z_id, "z_exp": inputs.z_exp, "camera": inputs.face_camera, "z_noise": inputs.z_noise}
        row = torch.cat([torch.zeros_like(v) if n in self.ignore else v for n, v in parts.items()], 1)
        image = torch.zeros(1, 3, SIZE, SIZE)
        image[0].view(-1)[: row.shape[1]] = row[0]
        ones = torch.ones(1, SIZE, SIZE)
        return {view: Rendered(image, ones, ones) for view in views}


class Reader:
    """Reads what :class:`Canvas` wrote."""

    def coefficients(self, image, camera):
        row = image.flatten(1)
        return FaceCoefficients(row[:, :80], row[:, 80:144], row[:, 144:146])

    @staticmethod
    def landmark_face(z_id, z_exp):
        return z_exp[:, None, :3].expand(-1, 68, 3)


def scene(ignore=(), people=24):
    inputs = draw_inputs(make_sampler(40, 0), range(people), 0)
    return Scene(Canvas(ignore), Reader(), inputs, CPU)


def test_an_obedient_model_has_no_expression_distance_and_a_deaf_one_all_of_it():
    assert expression_distance(scene()) == {"coefficients": 0, "landmarks_mm": 0}
    deaf = scene(["z_exp"])
    asked = deaf.inputs.z_exp
    found = expression_distance(deaf)
    assert found["coefficients"] == pytest.approx(asked.abs().mean().item(), rel=1e-5)
    assert found["landmarks_mm"] == pytest.approx(MILLIMETRES * asked[:, :3].norm(dim=1).mean().item(), rel=1e-5)


def test_actions_are_asked_for_one_at_a_time():
    inputs = draw_inputs(make_sampler(40, 0), range(2), 0)
    rows = one_at_a_time(inputs)
    assert len(rows.z_id) == 2 * (1 + len(ACTIONS) * len(LEVELS))
    assert torch.equal(rows.z_id[:11], inputs.z_id[:1].expand(11, -1)) and torch.equal(
        rows.camera[11], inputs.camera[1]
    )
    assert not rows.z_exp[[0, 11]].any()
    jaw, blink = rows.z_exp[1:3], rows.z_exp[5:7]  # half and all of it
    assert jaw.sum(1).tolist() == [0.5, 1] and jaw[1, columns_of("jawOpen")[0]] == 1
    assert blink.sum(1).tolist() == [1, 2] and blink[1, list(columns_of("eyeBlink"))].tolist() == [1, 1]


def test_an_obedient_model_shows_all_actions_and_a_deaf_one_none():
    obedient, deaf = action_response(scene(people=3)), action_response(scene(["z_exp"], people=3))
    assert list(obedient) == [f"{name}_{what}" for name in ACTIONS for what in ("r", "gain")]
    assert obedient == pytest.approx(dict.fromkeys(obedient, 1.0), abs=1e-6)
    assert deaf == dict.fromkeys(obedient, 0.0)


def test_what_is_found_by_halves_and_with_errors_is_told_apart():
    """Half of everything: r stays 1, the gain is a half. One of two people deaf: both fall."""
    whole = scene(people=2)

    class Halved(Reader):
        def coefficients(self, image, camera):
            found = Reader.coefficients(self, image, camera)
            return found._replace(z_exp=0.5 * found.z_exp)

    class OneDeaf(Reader):
        def coefficients(self, image, camera):
            found = Reader.coefficients(self, image, camera)
            deaf = torch.equal(found.z_id, whole.inputs.z_id[1:])
            return found._replace(z_exp=found.z_exp * (not deaf))

    halved = action_response(whole._replace(net=Halved()))
    assert halved["smile_r"] == pytest.approx(1) and halved["smile_gain"] == pytest.approx(0.5)
    one = action_response(whole._replace(net=OneDeaf()))
    # found (0, .5, 1, 0, 0, 0), asked (0, .5, 1) twice: covariance sum 1/2, squares 7/8 and 1
    assert one["smile_gain"] == pytest.approx(0.5) and one["smile_r"] == pytest.approx(0.5 / 0.875**0.5)


def test_coefficients_of_other_faces_are_no_actions():
    class Basel(Canvas):
        face_model = "basel"

    assert action_response(scene(people=2)._replace(render=Basel())) == {}


def test_identity_that_stays_is_alike_and_other_people_are_not():
    found = identity_similarity(scene())
    assert found["same"] == pytest.approx(1, abs=1e-5)
    assert abs(found["others"]) < 0.3  # independent normal latents of 80 numbers: about 1 / sqrt(80) a pair


def test_disentanglement_of_a_model_without_expression():
    found = disentanglement(scene(["z_exp"]))
    assert found["identity_moves_identity"] == pytest.approx(1, rel=1e-4)
    assert found["identity_moves_camera"] == pytest.approx(0, abs=1e-5)
    assert found["camera_moves_camera"] == pytest.approx(1, rel=1e-4)
    assert all(found[f"eps_moves_{name}"] == pytest.approx(0, abs=1e-5) for name in ("identity", "camera"))


def test_temporal_stability_of_linear_motion_has_no_flicker():
    """The canvas is linear in what is interpolated, so its second differences vanish."""
    found = temporal_stability(scene(people=3))
    assert found["flicker"] == pytest.approx(0, abs=1e-3) and found["motion"] > 1


def test_reprojection_of_a_flat_wall():
    """A plane z = 0 whose colour is its place: what a pixel sees is the same from everywhere."""
    cameras = [torch.tensor([[math.pi / 2, math.pi / 2 + turn]]) for turn in (-0.1, 0.12)]
    views = []
    for camera in cameras:
        rays = cast_rays(camera, PORTRAIT_CAMERA, SIZE)
        depth = -rays.origins[..., 2] / rays.directions[..., 2]
        place = rays.origins + depth[..., None] * rays.directions
        image = (4 * place).transpose(1, 2).unflatten(2, (SIZE, SIZE))
        views.append(Rendered(image, torch.ones(1, SIZE, SIZE), depth.unflatten(1, (SIZE, SIZE))))
    found = reproject(views, cameras)
    assert found.visible.float().mean() > 0.9
    difference = (found.colour - views[0].image.flatten(2)).abs().amax(1)[found.visible]
    assert difference.max() < 0.01  # bilinear interpolation of a smooth ramp


def test_wrong_depth_is_not_consistent():
    right = draw_inputs(make_sampler(4, 0), range(2), 0)
    drawing = DrawingRenderer({"portrait": 48, "face": 48})

    class Flat:
        name, size, body = "flat", drawing.size, drawing.body

        def __call__(self, inputs, views):
            return {n: v._replace(depth=torch.full_like(v.depth, 1.9)) for n, v in drawing(inputs, views).items()}

    true, flat = (view_consistency(Scene(each, None, right, CPU)) for each in (drawing, Flat()))
    assert true["visible"] > 0.7
    assert true["grey_levels"] < 0.7 * flat["grey_levels"]


def test_heads_are_seen_as_the_drawer_labels_them():
    drawing = DrawingRenderer({"portrait": 16, "face": 16})
    inputs = draw_inputs(make_sampler(4, 0), range(4), 0)
    frame = drawing.body.joint_transforms(inputs.betas, inputs.joint_eulers)[:, HEAD]
    expected = [
        seen_by_drawer(c.double().numpy(), f.double().numpy()) for c, f in zip(inputs.camera, frame, strict=True)
    ]
    found = seen_from_head(inputs.camera, frame)
    # The drawer rounds to 5 digits.
    assert torch.allclose(found.double(), torch.from_numpy(np.stack(expected)).double(), atol=2e-5)


def test_pictures_that_are_not_finite_are_no_numbers():
    broken = scene(people=2)
    broken.inputs.z_id[1, 3] = torch.nan
    with pytest.raises(UserError, match="canvas: face picture: expected finite numbers, found NaN or infinity"):
        identity_similarity(broken)


def test_bad_control_settings():
    with pytest.raises(UserError, match="--metrics: expected some of expression, actions, .*, found 'ssim'"):
        ControlConfig(metrics=("ssim",))
