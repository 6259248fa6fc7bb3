"""What is compiled is kept: checked before it is used, and made by one process while others wait."""

import functools
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from torch_utils.files import user_cache
from torch_utils.misc import UserError, file_sha256

# Of the folders that builds are made in. The lock's holder makes the only one; others are of processes that died.
_PREFIX = "build-"


class BuildError(UserError):
    """The ops could not be built or loaded: what was tried, and what it said."""


@functools.cache
def sources() -> dict[str, str]:
    """Texts of the sources by name, read once, for digest and build alike: files may be replaced meanwhile."""
    folder = Path(__file__).parents[1] / "ops" / "csrc"
    paths = sorted(path for path in folder.iterdir() if path.suffix in (".h", ".cpp", ".cu"))
    return {path.name: path.read_text(encoding="utf-8") for path in paths}


def digest(*parts: str) -> str:
    """Of the sources and of what else a build depends on."""
    texts = [*parts, *(text for source in sources().items() for text in source)]
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]


def cache_folder() -> Path:
    """Where builds are kept: TORCH_EXTENSIONS_DIR, or the user's cache folder."""
    root = os.environ.get("TORCH_EXTENSIONS_DIR")
    return Path(root) / "aniportraitgan" if root else user_cache()


def kept(name: str, make: Callable[[Path], Path]) -> Path:
    """The file ``name`` of the cache; made anew where it is not there, or not what its checksum beside it says.

    Args:
        make: given an empty folder, makes the file there and returns its path. One process makes, others wait.

    Raises:
        BuildError: of ``make``, or the cache cannot be written.
    """
    path = cache_folder() / name
    try:
        if _is_whole(path):
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.parent / "build.lock"):  # let go by the system, too, if this process dies
            for stale in path.parent.glob(f"{_PREFIX}*/"):
                shutil.rmtree(stale, ignore_errors=True)
            if not _is_whole(path):
                with tempfile.TemporaryDirectory(prefix=_PREFIX, dir=path.parent) as folder:
                    made = make(Path(folder))
                    checksum = Path(folder, "checksum")
                    checksum.write_text(f"{file_sha256(made)}  {name}\n", encoding="ascii")  # as of sha256sum
                    os.replace(made, path)
                    os.replace(checksum, _checksum(path))
    except OSError as error:
        raise BuildError(f"building the ops in {path.parent} failed: {error}") from error
    return path


def _checksum(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def _is_whole(path: Path) -> bool:
    try:
        return _checksum(path).read_text(encoding="ascii", errors="replace").split()[:1] == [file_sha256(path)]
    except FileNotFoundError:
        return False
