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
        parts: list[FaceCoefficients] = []
        for i in range(len(inputs.z_id)):
            row = inputs.part(slice(i, i + 1))
            image = self.view(row, "face").image
            found = self.net.coefficients(image.to(self.device), row.face_camera.to(self.device))
            parts.append(found)
        z_id = torch.cat([part.z_id.cpu() for part in parts])
        z_exp = torch.cat([part.z_exp.cpu() for part in parts])
        cameras = [part.camera.cpu() for part in parts if part.camera is not None]
        return FaceCoefficients(z_id, z_exp, torch.cat(cameras) if cameras else None)

    def view(self, inputs: Inputs, camera: str) -> Rendered:
        """What one camera, ``portrait`` or ``face``, sees. Raises UserError where that is not finite."""
        found = self.render(inputs, (camera,))[camera]
        check_finite(found.image, f"{self.render.name}: {camera} picture")
        return found

    def landmarks(self, z_id: Tensor, z_exp: Tensor) -> Tensor:
        """[B, 68, 3] of a face, on the CPU."""
        return self.net.landmark_face(z_id.to(self.device), z_exp.to(self.device)).cpu()
