"""The one person that a model of manifolds may be of, as files have them (``SavedModel.person``)."""

from collections.abc import Mapping

from torch import Tensor

from networks.manifold.generator import PersonStyle
from networks.manifold.radiance import RadianceStyle
from networks.person.priors import Latents
from torch_utils.misc import UserError


def person_of(parts: Mapping[str, Tensor]) -> tuple[Latents, PersonStyle]:
    """Latents and styles, [1, .] each. Raises UserError: some are missing."""
    names = (*Latents._fields, *RadianceStyle._fields, "superresolution")
    if missing := [name for name in names if name not in parts]:
        raise UserError(f"expected a person of manifolds, found one without {missing[0]}")
    latents, styles = [parts[name] for name in names[:3]], [parts[name] for name in names[3:]]
    return Latents(*latents), PersonStyle(RadianceStyle(*styles[:2]), styles[2])
