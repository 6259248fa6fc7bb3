"""Hair as a function of the strand and of the place on it: tone, sheen across the strands, ragged tips."""

from __future__ import annotations

import numpy as np

from training.data.synthetic.appearance import Appearance
from training.data.synthetic.light import Light
from training.data.synthetic.mesh import smoothstep
from training.data.synthetic.noise import noise3

# Columns of a sample's own attributes.
AROUND, ALONG, TO_TIP, DEPTH, TANGENT = slice(0, 2), 2, 3, 4, slice(5, 8)


def shade_hair(
    where: np.ndarray,
    own: np.ndarray,
    light: np.ndarray,
    normal: np.ndarray,
    look: Appearance,
    lamp: Light,
    pixel: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Colour [P, 3] and covered share [P].

    Args:
        where: [P, 3] mm, the sample on the mean person.
        own: [P, 8] (cos, sin) of the strand's azimuth, mm from the crown, mm to the tip, layer (0 the core, then
            1, 2 ... further out; -1 the hidden side), direction of the strand.
        light: [P] irradiance.
        normal: [P, 3].
        pixel: mm that a pixel covers.
    """
    along, to_tip, depth = own[:, ALONG], own[:, TO_TIP], own[:, DEPTH]
    tangent = own[:, TANGENT] / np.sqrt((own[:, TANGENT] ** 2).sum(1, keepdims=True) + 1e-9)
    straight = np.concatenate([own[:, AROUND], along[:, None] / 75.0], 1)  # one cell of it is a lock
    swirl = look.curl * noise3(where, 1 / 11.0, 41)
    straight[:, 2] *= 0.12 + 0.5 * look.curl
    straight[:, :2] *= (1.0 + 0.05 * look.wave * np.sin(along / 11.0) + 0.12 * swirl)[:, None]
    lock = noise3(straight, 11.0, 42) + 0.5 * look.curl * noise3(where, 1 / 6.0, 43)
    strand = noise3(straight * np.array([1.0, 1.0, 0.6]), 34.0, 44)
    fine = smoothstep(1.9, 0.6, pixel)
    hair = noise3(straight * np.array([1.0, 1.0, 0.4]), 95.0, 45) * fine if pixel < 1.9 else np.zeros(len(where))
    tone = 1.0 + 0.16 * lock + 0.20 * strand + 0.20 * hair
    tone = tone * (0.80 + 0.20 * smoothstep(0.0, 30.0, along)) * (1.0 + 0.10 * depth)
    tone = np.where(depth < -0.5, 0.5, tone)
    colour = look.hair * np.maximum(tone, 0.15)[:, None]
    # Light across the strands (Kajiya and Kay 1989), the highlight shifted a little from strand to strand.
    across = np.sqrt(np.maximum(1.0 - (tangent @ lamp.key) ** 2, 0.0))
    level = np.maximum(0.10 + 0.62 * light + 0.30 * light * across, 0.03)
    half = lamp.key + np.array([0.0, 0.1, 1.0])
    half = half / np.sqrt((half * half).sum())
    shifted = tangent @ half + 0.10 * strand + 0.07 * hair
    glance = np.maximum(1.0 - shifted * shifted, 0.0)
    facing = smoothstep(-0.1, 0.5, normal @ half)
    sheen = (0.05 + 0.22 * look.hair_sheen) * (glance**22 + 0.5 * glance**70) * facing * np.minimum(light, 1.0)
    colour = colour * level[:, None] + sheen[:, None] * (0.35 * look.hair + 0.30)
    # Tips and the hairline are ragged, strand by strand; outer layers are single strands.
    length = 5.0 + 17.0 * smoothstep(100.0, 220.0, along)
    ragged = to_tip - length * (0.42 + 0.36 * strand + 0.25 * hair + 0.30 * lock)
    cover = smoothstep(-0.9, 1.6, ragged) if pixel < 3 else smoothstep(-1.6, 2.4, ragged)
    outer = smoothstep(0.10, 0.50, strand + 0.7 * hair + 0.2 * lock - 0.22 * (depth - 1.0))
    cover = np.where(depth > 0.5, cover * outer * 0.85, cover)
    return np.clip(colour, 0.0, 1.0), cover
