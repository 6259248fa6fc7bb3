"""Equation 9: the generated face has the landmarks that its latents ask for."""

from torch import Tensor


def landmark_loss(asked: Tensor, seen: Tensor) -> Tensor:
    """E[|lm(S(z_id, z_exp)) - lm(S(z_id', z_exp'))|^2] (paper eq. 9), the squared norm over all 68 landmarks.

    Args:
        asked: [B, 68, 3] of the latents (``FaceReconstructor.landmark_face``), canonical units.
        seen: [B, 68, 3] that a frozen face reconstruction net finds in the generated face pictures
            (``FaceReconstructor.landmarks``).
    """
    return (asked - seen).square().sum((1, 2)).mean()
