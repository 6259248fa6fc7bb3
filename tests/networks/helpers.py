"""Small made-up things for the tests: a body around SMPL's joints, a generator of a few thousand weights, latents."""

from functools import cache

import numpy as np
import torch
from torch import Tensor, nn

from networks.manifold.generator import Generator, GeneratorConfig
from networks.person.body_assets import BodyArrays, body_from_dict, head_shoulder_vertices

PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21)
# SMPL's neutral T-pose joints in metres (rounded).
JOINTS = (
    (0.0, -0.223, 0.028), (0.069, -0.314, 0.024), (-0.069, -0.314, 0.024), (0.0, -0.114, 0.002),
    (0.102, -0.690, 0.017), (-0.102, -0.690, 0.017), (0.0, 0.021, 0.003), (0.088, -1.088, -0.027),
    (-0.088, -1.088, -0.027), (0.0, 0.074, 0.028), (0.115, -1.144, 0.093), (-0.115, -1.144, 0.093),
    (0.0, 0.288, -0.015), (0.080, 0.194, -0.008), (-0.080, 0.194, -0.008), (0.0, 0.353, 0.037),
    (0.173, 0.226, -0.017), (-0.173, 0.226, -0.017), (0.430, 0.213, -0.042), (-0.430, 0.213, -0.042),
    (0.681, 0.221, -0.044), (-0.681, 0.221, -0.044), (0.765, 0.214, -0.058), (-0.765, 0.214, -0.058),
)  # fmt: skip
CORNERS = np.array([(1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)], np.float64)
CORNER_FACES = np.array([(0, 2, 4), (2, 1, 4), (1, 3, 4), (3, 0, 4), (2, 0, 5), (1, 2, 5), (3, 1, 5), (0, 3, 5)])
RADIUS = 0.06
TINY_CONFIG = GeneratorConfig(
    image_size=40, lowres_size=10, num_samples=8, num_fine_samples=24, num_manifolds=3, first_level=12.0,
    last_level=6.0, manifold_dim=32, mapping_dim=16, radiance_dim=16, feature_dim=4, expression_dim=16,
    sr_features=6, sr_blocks=1, sr_growth=4, sr_up_channels=(6, 4),
)  # fmt: skip


def make_body_dict(seed: int = 0) -> dict[str, np.ndarray]:
    """SMPL's arrays of 144 vertices: an octahedron around every joint, its upper corners shared with the parent.

    Joints are the octahedra's centres, exactly, with betas 0; shape and pose directions are small and random.
    """
    random = np.random.default_rng(seed)
    joints = np.array(JOINTS)
    vertices = (joints[:, None] + RADIUS * CORNERS).reshape(-1, 3)
    count, corners = len(vertices), len(CORNERS)
    owner = np.repeat(np.arange(24), corners)
    regressor = (np.arange(24)[:, None] == owner) / corners
    weights = np.eye(24)[owner]
    shared = 0.25 * (np.arange(count) % corners == 2)[:, None]
    parent = np.eye(24)[np.maximum(np.array(PARENTS), 0)[owner]]
    return {
        "v_template": vertices.astype(np.float32),
        "shapedirs": (0.004 * random.standard_normal((count, 3, 10))).astype(np.float32),
        "posedirs": (0.001 * random.standard_normal((count, 3, 207))).astype(np.float32),
        "J_regressor": regressor.astype(np.float32),
        "weights": ((1 - shared) * weights + shared * parent).astype(np.float32),
        "kintree_table": np.stack([PARENTS, np.arange(24)]),
        "f": (np.arange(24)[:, None, None] * corners + CORNER_FACES).reshape(-1, 3),
    }


@cache
def make_body() -> BodyArrays:
    return body_from_dict(make_body_dict(), "made-up body")


def make_generator(config: GeneratorConfig = TINY_CONFIG, *, seed: int = 0, cls: type[Generator] = Generator):
    """A generator with random weights whose parts all matter: D^e's last layer and D^p's filters are not trivial."""
    torch.manual_seed(seed)
    generator = cls(config, make_body(), torch.from_numpy(head_shoulder_vertices(make_body())))
    with torch.no_grad():
        nn.init.normal_(generator.expression_deformation.output.weight, 0, 0.002)
        for weight in (generator.pose_deformation.weight1, generator.pose_deformation.weight2):
            weight *= 0.5 + torch.rand_like(weight)
    generator.set_mean_styles(torch.randn(100, 80), torch.randn(100, 80))
    return generator.eval()


def make_inputs(batch: int = 1, *, seed: int = 1) -> dict[str, Tensor]:
    """What ``Generator.render`` takes beside the manifolds."""
    random = torch.Generator().manual_seed(seed)
    shapes = {"z_id": (80,), "z_exp": (64,), "betas": (10,), "joint_eulers": (6, 3), "camera": (2,)}
    inputs = {name: torch.randn(batch, *shape, generator=random) for name, shape in shapes.items()}
    inputs["joint_eulers"] *= 0.1
    inputs["camera"] = torch.pi / 2 + 0.1 * inputs["camera"]
    return inputs


def make_priors_dict(rows: int = 12, *, seed: int = 2) -> dict[str, Tensor]:
    """Label rows whose entries are short enough to survive half precision."""
    random = torch.Generator().manual_seed(seed)
    widths = {"camera_pose": 20, "id_shape": 90, "expression": 64}
    return {name: torch.randint(-64, 64, (rows, width), generator=random) / 64.0 for name, width in widths.items()}


def max_error(ours: Tensor, expected: Tensor) -> float:
    assert ours.shape == expected.shape
    return (ours - expected).abs().max().item()
