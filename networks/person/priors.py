"""Label priors: what latents, expressions, poses and cameras are drawn from (method: rows of the training labels).

Camera and pose come together from one row, identity and body shape from another, expression from a third, so that
the correlations of real photos survive.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from torch_utils.misc import UserError

# Columns of the rows; the last two are optional.
WIDTHS = {"camera_pose": 2 + 18, "id_shape": 80 + 10, "expression": 64, "face_id": 80, "face_expression": 64}
OPTIONAL = ("face_id", "face_expression")
# Where the authors' data have the rows of photos.
LABEL_FILES = {
    "camera_pose": "camera_pose_joint_sample.npy",
    "id_shape": "id_shape_sampler_body.npy",
    "expression": "expression_body.npy",
}


class Latents(NamedTuple):
    z_id: Tensor  # [N, 80] 3DMM identity
    z_noise: Tensor  # [N, 80] eps: hair, clothes, colour
    betas: Tensor  # [N, 10] SMPL shape


class LabelPriors(NamedTuple):
    """Rows of labels; every draw picks rows with replacement, by a CPU generator, the same on every device.

    ``jitter`` in the draws adds normal noise of that share of each column's spread over the rows: variety
    from few rows.
    """

    camera_pose: Tensor  # [N, 20] pitch, yaw, 6 x 3 Euler angles of joints 12..17, radians
    id_shape: Tensor  # [N, 90] z_id, betas
    expression: Tensor  # [N, 64]
    face_id: Tensor | None = None  # [N, 80] of a set of faces without bodies; the released model's labels have one
    face_expression: Tensor | None = None  # [N, 64] of that set

    @classmethod
    def from_dict(cls, arrays: Mapping[str, Tensor], where: str) -> "LabelPriors":
        """Check and convert arrays; raises UserError naming ``where`` and the array."""
        if not isinstance(arrays, Mapping):
            raise UserError(f"{where}: priors: expected a mapping of arrays, found {type(arrays).__name__}")
        rows = {}
        for name, width in WIDTHS.items():
            if name not in arrays:
                if name in OPTIONAL:
                    continue
                raise UserError(f"{where}: priors: missing array '{name}'")
            try:
                array = torch.as_tensor(arrays[name]).detach().cpu().to_dense()
            except (TypeError, ValueError, RuntimeError):  # strings, ragged lists, None ...
                found = type(arrays[name]).__name__
                raise UserError(f"{where}: priors: {name}: expected floats [N, {width}], found {found}") from None
            if array.ndim != 2 or array.shape[1] != width or not len(array) or not array.is_floating_point():
                raise UserError(
                    f"{where}: priors: {name}: expected floats [N, {width}], found {array.dtype} {list(array.shape)}"
                )
            if not array.isfinite().all():
                raise UserError(f"{where}: priors: {name}: expected finite numbers, found NaN or infinity")
            rows[name] = array.float()
        return cls(**rows)

    def to_dict(self, *, half: bool = False) -> dict[str, Tensor]:
        """Arrays for a checkpoint; ``half`` as float16, which keeps angles up to pi within 0.001 radians."""
        arrays = {name: array for name, array in self._asdict().items() if array is not None}
        return {name: array.half() if half else array.clone() for name, array in arrays.items()}

    def sample_latents(self, count: int, generator: torch.Generator, jitter: float = 0.0) -> Latents:
        """(z_id, betas) from one row, z_noise ~ N(0, 1)."""
        row = _draw(self.id_shape, count, generator, jitter)
        z_noise = torch.randn(count, 80, generator=generator)
        return Latents(row[:, :80], z_noise, row[:, 80:])

    def sample_expressions(self, count: int, generator: torch.Generator, jitter: float = 0.0) -> Tensor:
        """Expression coefficients [count, 64]."""
        return _draw(self.expression, count, generator, jitter)

    def sample_faces(self, count: int, generator: torch.Generator, jitter: float = 0.0) -> tuple[Tensor, Tensor]:
        """z_id [count, 80] and z_exp [count, 64] of faces without bodies, from their own rows if there are any."""
        faces = self.id_shape[:, :80] if self.face_id is None else self.face_id
        expressions = self.expression if self.face_expression is None else self.face_expression
        return _draw(faces, count, generator, jitter), _draw(expressions, count, generator, jitter)

    def sample_pose_camera(self, count: int, generator: torch.Generator, jitter: float = 0.0) -> tuple[Tensor, Tensor]:
        """joint_eulers [count, 6, 3] and camera [count, 2] (pitch, yaw), radians, from the same rows."""
        row = _draw(self.camera_pose, count, generator, jitter)
        return row[:, 2:].unflatten(1, (6, 3)), row[:, :2]


def _draw(rows: Tensor, count: int, generator: torch.Generator, jitter: float) -> Tensor:
    """``count`` of the rows [N, C], with noise where ``jitter`` > 0."""
    drawn = rows[torch.randint(len(rows), (count,), generator=generator)]
    if jitter == 0:
        return drawn
    return drawn + jitter * rows.std(0, correction=0) * torch.randn(drawn.shape, generator=generator)
