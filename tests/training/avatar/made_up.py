"""Pictures of a made-up actor: a small avatar with colours, which training does not know."""

import torch

from networks.gaussian.avatar import Pose, View
from networks.gaussian.maps import Window
from tests.networks.gaussian.made_up import SIZE, UNET, make_avatar, make_skeleton, make_template, make_view
from training.avatar.views import Actor, Shot

CONFIG = {
    "avatar": {"map_size": SIZE, "nets": "one", "unet": {**UNET, "widths": list(UNET["widths"])}, "pose_components": 2},
    "losses": {},
    "optim": {"steps": 40, "lr": 1e-3, "canonical_lr": 2e-2, "static_steps": 10},
    "run": {"tick_steps": 10, "snapshot_steps": 10, "snapshot_views": 2, "held_out": 2},
    "distillation": {},
    "capture": {},
}


class MadeUpViews:
    """A red and blue ball that nods, smiles, and is seen from one side."""

    summary, frames, metadata = "a ball", 6, {"source": "a ball"}

    def __init__(self) -> None:
        self.avatar = make_avatar("static")
        with torch.no_grad():
            colour = self.avatar.canonical["colour"]
            colour[:] = torch.where(
                self.avatar.maps.positions[:, :1] > 0, torch.tensor([0.9, 0.1, 0.1]), torch.tensor([0.1, 0.1, 0.9])
            )
            self.avatar.canonical["other"][:, 0] = 2.0

    def actor(self, map_size: int) -> Actor:
        return Actor(make_template(), Window((0.0, 0.0), 0.25, map_size), *make_skeleton())

    def _pose(self, index: int) -> Pose:
        random = torch.Generator().manual_seed(index)
        expression, eulers = torch.zeros(64), torch.zeros(6, 3)
        expression[0], eulers[0, 2] = torch.rand((), generator=random), torch.rand((), generator=random) - 0.5
        return self.avatar.pose(expression, eulers)

    @torch.no_grad()
    def shot(self, index: int) -> Shot:
        pose, view = self._pose(index), make_view()
        picture = self.avatar(pose, view.origin).draw(view, 0.0)
        return Shot(picture.image, picture.alpha, pose, view)

    def look(self, index: int) -> tuple[Pose, View]:
        return self._pose(index), make_view()

    def held_out(self, index: int) -> Shot:
        return self.shot(100 + index)

    def poses(self, count: int) -> list[Pose]:
        return [self._pose(i) for i in range(min(count, self.frames))]
