"""How a person looks, as smooth functions of the noise vector ``eps``.

Every entry of ``eps`` is squashed before use, so that any N(0, 1) draw gives a plausible person, and a network that
sees ``eps`` can learn the mapping. Colours are sRGB values in 0..1.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from training.data.synthetic.mesh import smoothstep

# What each entry of eps steers; entries from N_USED on are ignored.
SKIN_TONE, UNDERTONE, HAIR_DARKNESS, HAIR_HUE, HAIR_LENGTH, HAIR_VOLUME, FRINGE, WAVE = range(8)
CLOTHES_HUE, CLOTHES_LIGHTNESS, CLOTHES_CHROMA, NECKLINE, EYE_COLOUR, BROWS, BEARD, LIP_COLOUR, BLUSH = range(8, 17)
HAIR_SHEEN, LASHES, IRIS_LIGHTNESS, AGE, SEX, FRECKLES, PORES, TIRED = range(17, 25)
LIGHT_YAW, LIGHT_PITCH, LIGHT_STRENGTH, LIGHT_WARMTH, _, CURL, TIED, RECEDE, GREY, PATTERN = range(25, 35)
KNOT, COLLAR = range(35, 37)
N_USED = 37
CREW, VEE, SHIRT_COLLAR, TURTLENECK = range(4)  # of Appearance.collar
_COLLARS = np.array([0.40, 0.60, 0.82])  # where one kind follows another, by COLLAR's squashed value

_SKIN = np.array([  # light to dark, at equal steps of SKIN_TONE's squashed value
    (0.965, 0.835, 0.765), (0.945, 0.785, 0.690), (0.905, 0.715, 0.595), (0.820, 0.610, 0.475),
    (0.670, 0.470, 0.350), (0.510, 0.345, 0.260),
])  # fmt: skip
_HAIR = np.array([  # black, dark brown, brown, auburn, red, dark blond, blond, grey
    (0.075, 0.062, 0.060), (0.165, 0.105, 0.075), (0.290, 0.185, 0.120), (0.360, 0.165, 0.090),
    (0.560, 0.270, 0.130), (0.500, 0.365, 0.220), (0.760, 0.600, 0.385), (0.600, 0.590, 0.580),
])  # fmt: skip
_HAIR_AT = np.array([  # where each sits in the plane (HAIR_DARKNESS, HAIR_HUE): dark is common, red and grey are rare
    (-1.1, 0.2), (-0.35, -0.1), (0.35, 0.3), (0.15, 1.3), (0.75, 2.1), (0.95, 0.0), (1.65, 0.4), (0.9, -2.0),
])  # fmt: skip
_EYES = np.array([  # dark brown, brown, hazel, green, grey, blue
    (0.190, 0.105, 0.060), (0.330, 0.195, 0.105), (0.420, 0.320, 0.150), (0.330, 0.430, 0.290),
    (0.400, 0.470, 0.520), (0.270, 0.460, 0.680),
])  # fmt: skip


class Appearance(NamedTuple):
    skin: np.ndarray  # [3]
    blush: np.ndarray  # [3] multiplies the skin where the cheeks are reddest
    lips: np.ndarray  # [3]
    hair: np.ndarray  # [3]
    brow: np.ndarray  # [3]
    beard_hair: np.ndarray  # [3]
    iris: np.ndarray  # [3]
    clothes: np.ndarray  # [3]
    age: float  # 0 young .. 1 old
    freckles: float  # 0..1
    pores: float  # 0..1
    tired: float  # 0..1 rings under the eyes
    hair_length: float  # 0 cropped .. 0.35 short .. 0.6 to the chin .. 1 over the shoulders
    hair_volume: float  # 0..1
    fringe: float  # -1 combed to the person's right .. 0 straight and high .. 1 to the left and low
    wave: float  # 0..1
    curl: float  # 0..1
    tied: float  # 0 loose .. 1 at the back of the head
    knot: float  # -1 a low ponytail .. 1 a high bun
    recede: float  # 0 a full head of hair .. 1 bald on top
    hair_sheen: float  # 0..1
    scalp_cover: float  # 0..1 how far hair hides the scalp under it
    neckline: float  # 0 high .. 1 wide
    collar: np.ndarray  # [4] shares of CREW, VEE, SHIRT_COLLAR, TURTLENECK: one of them, but for a few people
    pattern: float  # 0 plain .. 1 striped
    brow_thickness: float  # 0..1
    brow_density: float  # 0..1
    beard: float  # 0 none .. 1 full
    lashes: float  # 0..1
    light: tuple[float, float, float, float]  # yaw, pitch, strength, warmth of light.make_light

    @property
    def loose_length(self) -> float:
        """Of the hair that is not gathered in a knot, as ``hair_length``."""
        return self.hair_length * (1 - self.tied) + 0.33 * self.tied


def squash(x: float, centre: float = 0.0, slope: float = 1.0) -> float:
    """N(0, 1) -> 0..1 through a logistic curve."""
    return float(1.0 / (1.0 + np.exp(-slope * 1.6 * (float(x) - centre))))


def ramp(palette: np.ndarray, t: float) -> np.ndarray:
    """A smooth path through the colours of ``palette`` [N, 3], t in 0..1 (softly weighted neighbours)."""
    position = t * (len(palette) - 1)
    weight = np.exp(-0.5 * ((np.arange(len(palette)) - position) / 0.55) ** 2)
    return (weight[:, None] * palette).sum(0) / weight.sum()


def appearance(eps: np.ndarray) -> Appearance:
    """eps [80] (or any length >= N_USED) -> :class:`Appearance`; smooth, deterministic."""
    e = np.asarray(eps, np.float64)
    tone = squash(e[SKIN_TONE], 0.5)
    skin = ramp(_SKIN, tone)
    warm = np.tanh(0.6 * e[UNDERTONE])
    skin = skin * (1.0 + 0.025 * warm * np.array([0.4, 0.2, -2.2]))

    # Dark skin goes with darker hair and eyes more often than not: shift the draw instead of forbidding anything.
    spot = np.array([e[HAIR_DARKNESS] - 1.6 * (tone - 0.3), e[HAIR_HUE] * (1.0 - 0.6 * tone)])
    weight = np.exp(-((_HAIR_AT - spot) ** 2).sum(1) / 0.35)
    weight += 1e-6 / (1e-6 + ((_HAIR_AT - spot) ** 2).sum(1))
    hair = (weight[:, None] * _HAIR).sum(0) / weight.sum()

    eye = squash(e[EYE_COLOUR] - 2.4 * (tone - 0.25) + 0.25 * e[HAIR_DARKNESS], 0.35)
    iris = ramp(_EYES, eye) * (0.85 + 0.3 * squash(e[IRIS_LIGHTNESS]))

    hue, chroma = 1.9 * e[CLOTHES_HUE], 0.25 * squash(e[CLOTHES_CHROMA], 0.4)
    lightness = 0.14 + 0.66 * squash(e[CLOTHES_LIGHTNESS], 0.1)
    turn = hue + np.array([0.0, -2.0944, 2.0944])
    clothes = lightness * (1.0 + chroma * 1.7 * np.cos(turn))

    age, female = squash(e[AGE], 0.25, 1.3), squash(e[SEX], 0.0, 4.5)
    grey = squash(e[GREY] + 4.0 * (age - 0.62), 0.6, 1.6) * smoothstep(0.35, 0.8, age)
    hair = hair * (1 - grey) + grey * np.array([0.62, 0.61, 0.60])
    length = squash(e[HAIR_LENGTH] + 1.8 * (female - 0.5) - 0.8 * (age - 0.4), 0.0, 1.15)
    recede = (1 - female) * squash(e[RECEDE] + 2.4 * (age - 0.45), 0.9, 1.7)
    length = length * (1 - 0.75 * recede)
    beard = (1 - female) ** 3 * squash(e[BEARD], 0.35, 1.4)
    make_up = female * squash(e[LIP_COLOUR], 0.1)
    natural = skin * (np.array([0.91, 0.74, 0.76]) * (1 - 0.25 * tone) + 0.25 * tone * np.array([0.98, 0.82, 0.82]))
    lips = natural * (1 - 0.4 * make_up) + 0.4 * make_up * np.array([0.70, 0.26, 0.30]) * (1.05 - 0.35 * tone)
    curl = squash(e[CURL] + 1.2 * (tone - 0.35), 0.9, 1.8)
    tied = squash(e[TIED] + 1.2 * (female - 0.6), 0.9, 9.0) * float(smoothstep(0.40, 0.43, length))
    reached = smoothstep(_COLLARS - 0.004, _COLLARS + 0.004, squash(e[COLLAR]))
    return Appearance(
        skin=skin * (1.0 - 0.04 * age),
        blush=1.0 - (0.35 + squash(e[BLUSH], 0.2)) * np.array([0.02, 0.15, 0.13]),
        lips=lips,
        hair=hair,
        brow=0.66 * hair * (1 - 0.3 * grey) + 0.02 + 0.06 * skin,
        beard_hair=0.80 * hair * np.array([1.04, 0.98, 0.92]) + 0.03,
        iris=np.clip(iris, 0, 1),
        clothes=np.clip(clothes, 0.03, 0.93),
        age=age,
        freckles=squash(e[FRECKLES] - 2.0 * (tone - 0.1), 1.0, 2.0),
        pores=0.4 + 0.6 * squash(e[PORES] + age - 0.5),
        tired=squash(e[TIRED] + 1.5 * (age - 0.4)),
        hair_length=length,
        hair_volume=squash(e[HAIR_VOLUME] + 1.5 * (curl - 0.3)),
        fringe=float(np.tanh(0.8 * e[FRINGE])),
        wave=squash(e[WAVE], 0.6),
        curl=curl,
        tied=tied,
        knot=float(np.tanh(1.2 * e[KNOT])),
        recede=recede,
        hair_sheen=squash(e[HAIR_SHEEN] - curl),
        scalp_cover=float(smoothstep(0.0, 0.10, length)),
        neckline=squash(e[NECKLINE], 0.1),
        collar=np.append(1.0, reached) - np.append(reached, 0.0),
        pattern=squash(e[PATTERN], 1.0, 2.5),
        brow_thickness=squash(e[BROWS] - 1.2 * (female - 0.5)),
        brow_density=squash(e[BROWS] + 0.8 - 0.8 * age),
        beard=beard,
        lashes=0.3 + 0.7 * squash(e[LASHES] + 2.0 * (female - 0.5)),
        light=(
            0.9 * float(np.tanh(0.8 * e[LIGHT_YAW])),
            0.55 + 0.30 * float(np.tanh(0.8 * e[LIGHT_PITCH])),
            squash(e[LIGHT_STRENGTH]),
            float(np.tanh(0.7 * e[LIGHT_WARMTH])),
        ),
    )
