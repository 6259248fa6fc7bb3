"""Synthetic people: drawn on the open body, with exact labels.

::

    person = SyntheticPerson(z_id, eps, betas)
    picture = draw(person.posed(expression, joint_eulers), camera=(pitch, yaw), size=256)
    picture.image, picture.alpha, picture.depth  # [3, H, W] in -1..1, [H, W], [H, W]
"""

from training.data.synthetic.drawing import Picture, draw, draw_mesh
from training.data.synthetic.mesh import ColouredMesh
from training.data.synthetic.person import PosedPerson, SyntheticPerson
from training.data.synthetic.sampling import (
    sample_actions,
    sample_expression,
    sample_identity,
    sample_pose_camera,
    sample_strong,
)

__all__ = [
    "ColouredMesh",
    "Picture",
    "PosedPerson",
    "SyntheticPerson",
    "draw",
    "draw_mesh",
    "sample_actions",
    "sample_expression",
    "sample_identity",
    "sample_pose_camera",
    "sample_strong",
]
