"""Synthetic people: drawn from the embedded body and face, with exact labels.

::

    person = SyntheticPerson(z_id, eps, betas)          # or SyntheticPerson.sample(seed)
    mesh = person.posed_mesh(expression, joint_eulers)
    picture = draw(mesh, camera=(pitch, yaw), size=256)  # image [3, H, W] in [-1, 1], alpha, depth
    rgb, distance = SurfaceField(person.canonical_mesh()).query(points)
"""

from training.data.synthetic.drawing import Picture, draw
from training.data.synthetic.mesh import PART_NAMES, ColouredMesh
from training.data.synthetic.person import SyntheticPerson
from training.data.synthetic.sampling import sample_expression, sample_identity, sample_pose_camera
from training.data.synthetic.surface_field import SurfaceField

__all__ = [
    "PART_NAMES",
    "ColouredMesh",
    "Picture",
    "SurfaceField",
    "SyntheticPerson",
    "draw",
    "sample_expression",
    "sample_identity",
    "sample_pose_camera",
]
