"""People as command lines name them."""

import re
from collections.abc import Sequence

from torch_utils.misc import UserError

MAX_SEEDS = 1000


def parse_seeds(words: Sequence[str]) -> tuple[int, ...]:
    """`["0-2,7"]` or `["0-2", "7"]` -> (0, 1, 2, 7); a seed that is named twice counts once."""
    seeds: list[int] = []
    for part in ",".join(words).split(","):
        match = re.fullmatch(r"\s*(\d{1,10})(?:-(\d{1,10}))?\s*", part, flags=re.ASCII)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, -1)
        if not first <= last < 2**32:
            raise UserError(f"--seeds: expected whole numbers and rising ranges like 0-3,7, found '{' '.join(words)}'")
        if len(seeds) + last - first >= MAX_SEEDS:
            raise UserError(f"--seeds: expected at most {MAX_SEEDS} seeds, found more in '{' '.join(words)}'")
        seeds.extend(range(first, last + 1))
    return tuple(dict.fromkeys(seeds))
