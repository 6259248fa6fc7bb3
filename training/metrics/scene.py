"""What the metrics of control work with: people, what draws them, and the net that looks at the pictures."""

from typing import NamedTuple

import torch
from torch import Tensor

from networks.person.face_recon import FaceCoefficients, FaceReconstructor
from training.metrics.renderers import Rendered, Renderer, check_finite
from training.sampling import Inputs


class Scene(NamedTuple):
    """What the metrics work with."""

    render: Renderer
    net: FaceReconstructor
    inputs: Inputs  # of ``num`` people
    device: torch.device

    def faces(self, inputs: Inputs) -> FaceCoefficients:
        """What the net finds in the face camera's pictures."""
        parts = []
        for i in range(len(inputs.z_id)):
            row = inputs.part(slice(i, i + 1))
            image = self.view(row, "face").image
            found = self.net.coefficients(image.to(self.device), row.face_camera.to(self.device))
            parts.append([value if value is None else value.cpu() for value in found])
        columns = zip(*parts, strict=True)
        return FaceCoefficients(*(None if column[0] is None else torch.cat(column) for column in columns))

    def view(self, inputs: Inputs, camera: str) -> Rendered:
        """What one camera, ``portrait`` or ``face``, sees. Raises UserError where that is not finite."""
        found = self.render(inputs, (camera,))[camera]
        check_finite(found.image, f"{self.render.name}: {camera} picture")
        return found

    def landmarks(self, z_id: Tensor, z_exp: Tensor) -> Tensor:
        """[B, 68, 3] of a face, on the CPU."""
        return self.net.landmark_face(z_id.to(self.device), z_exp.to(self.device)).cpu()
