"""People and what they are asked to do."""

import numpy as np

from networks.person.open_body.actions import ACTIONS
from tests.training.data.synthetic.meshes import FRONT
from training.data.synthetic import (
    SyntheticPerson,
    draw,
    sample_identity,
)

NO_POSE, SIDE = np.zeros((6, 3)), (np.pi / 2, np.pi / 2 - 1.2)


def make_person(seed: int = 1, **eps: float) -> SyntheticPerson:
    """The person of a seed, entries of eps (``e4``) changed."""
    identity = sample_identity(np.random.default_rng(seed))
    for name, value in eps.items():
        identity.eps[int(name[1:])] = value
    return SyntheticPerson(identity.z_id, identity.eps, identity.betas)


def make_expression(**actions: float) -> np.ndarray:
    z = np.zeros(64, np.float32)
    for name, value in actions.items():
        for side in [name] if name in ACTIONS else [f"{name}Left", f"{name}Right"]:
            z[ACTIONS.index(side)] = value
    return z


def make_eulers(**angles) -> np.ndarray:
    e = np.zeros((6, 3), np.float32)
    for name, value in angles.items():
        e[int(name[1]), int(name[2])] = value
    return e


def share_of(person, part: int, expression, camera=FRONT, kind: str = "portrait", size: int = 96) -> float:
    """Pixels of a picture that show a part."""
    posed = person.posed(expression, NO_POSE)

    class Flat:
        def __call__(self, material, attributes, pixel):
            shown = np.repeat((material == part)[:, None], 3, 1).astype(float)
            return shown, posed.shader(material, attributes, pixel)[1]

    picture = draw(posed._replace(shader=Flat()), camera, size, kind)
    return float(((picture.image.mean(0) + 1) / 2 - (1 - picture.alpha)).sum())
