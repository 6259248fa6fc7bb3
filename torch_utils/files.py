"""Folders and archives as people have them: what their systems leave in them is passed over."""

import os
import re
from collections.abc import Iterable
from pathlib import Path

from torch_utils.misc import UserError, reason

# What macOS, Windows and file servers put beside people's files; what is hidden (.DS_Store, ._photo.png) counts, too.
CLUTTER = frozenset({"__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "@eadir", "$recycle.bin"})


def user_cache() -> Path:
    """This project's folder among what programs keep for the user; it may not be there yet."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "aniportraitgan"


def is_clutter(name: str) -> bool:
    """Whether a file's name, with its folders (``/`` between them), is nothing that a person put there."""
    return any(part.startswith(".") or part.lower() in CLUTTER for part in name.split("/"))


def list_files(folder: str | Path, suffixes: Iterable[str] | None = None, *, recursive: bool = False) -> list[Path]:
    """The files in a folder, sorted by name, without clutter.

    Args:
        folder: to look into.
        suffixes: with their dots, lower case; of any case in names. None: all.
        recursive: those in its folders, too.

    Raises:
        UserError: the folder is not there or cannot be read.
    """
    wanted = None if suffixes is None else tuple(suffixes)

    def fail(error: OSError) -> None:
        raise UserError(f"{folder}: cannot be read: {reason(error)}") from None

    found = []
    for place, folders, names in os.walk(folder, onerror=fail):
        folders[:] = [name for name in folders if recursive and not is_clutter(name)]
        for name in names:
            if not is_clutter(name) and (wanted is None or Path(name).suffix.lower() in wanted):
                found.append(Path(place) / name)
    return sorted(found)


def natural_key(name: str) -> list[tuple[int, str]]:
    """Sorts 2 before 10: runs of digits by their number, whatever is between them as it is."""
    return [(int(part), "") if i % 2 else (0, part) for i, part in enumerate(re.split(r"([0-9]+)", name))]
