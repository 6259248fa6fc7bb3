"""A small avatar: a bent sheet that hangs on two joints and bulges by expressions."""

import torch

from networks.gaussian.avatar import AvatarConfig, GaussianAvatar, View
from networks.gaussian.maps import CanonicalMaps, Template, Window
from networks.gaussian.style_unet import UNetConfig

NECK = 12
SIZE = 16
UNET = {"size": SIZE // 2, "widths": (6, 6, 4), "style_dim": 8, "mapping_layers": 1}


def make_template(joints: int = 24, expressions: int = 64) -> Template:
    """A ball of radius 0.2 as a grid of quads; the upper half hangs on the neck, the first coefficient is a bulge."""
    rows, columns = 9, 16
    polar = torch.linspace(0.05, torch.pi - 0.05, rows)[:, None]
    around = torch.arange(columns) * (2 * torch.pi / columns)
    ball = [polar.sin() * around.cos(), polar.cos().expand(rows, columns), polar.sin() * around.sin()]
    vertices = 0.2 * torch.stack(ball, -1).reshape(-1, 3)
    quads = torch.tensor(
        [
            [
                r * columns + c,
                r * columns + (c + 1) % columns,
                (r + 1) * columns + (c + 1) % columns,
                (r + 1) * columns + c,
            ]
            for r in range(rows - 1)
            for c in range(columns)
        ]
    )
    faces = torch.cat([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    weights = torch.zeros(len(vertices), joints)
    upper = (vertices[:, 1] > 0).float()
    weights[:, NECK], weights[:, 0] = upper, 1 - upper
    basis = torch.zeros(len(vertices), 3, expressions)
    basis[:, :, 0] = 0.1 * vertices
    return Template(vertices, faces, weights, basis)


def make_skeleton() -> tuple[torch.Tensor, torch.Tensor]:
    """Joints at the ball's middle, each hanging on the first."""
    return torch.zeros(24, 3), torch.tensor([-1] + [0] * 23)


def make_avatar(nets: str = "one", **changes) -> GaussianAvatar:
    """Seeded; scales as a new avatar has them."""
    torch.manual_seed(0)
    config = AvatarConfig(map_size=SIZE, nets=nets, unet=UNetConfig(**UNET), pose_components=2, **changes)
    maps = CanonicalMaps.from_template(make_template(), Window((0.0, 0.0), 0.25, SIZE))
    avatar = GaussianAvatar(config, maps, *make_skeleton())
    avatar.start()
    return avatar.eval()


def make_view(size: int = 24) -> View:
    """From 2 away, along -z."""
    world_to_camera = torch.diag(torch.tensor([1.0, -1, -1, 1]))
    world_to_camera[2, 3] = 2
    return View(world_to_camera, torch.tensor([80.0, 80, size / 2, size / 2]), (size, size))
