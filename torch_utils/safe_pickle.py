"""A pickle reader that builds arrays and plain containers and nothing else, for third-party assets (SMPL).

Pickles are programs. This reader knows a short list of globals (numpy arrays and scalars, scipy.sparse matrices,
plain containers) and chumpy's `Ch`, which becomes a stand-in that only holds its state; any other global ends in
UserError before anything is called. Python 2 pickles (latin1) and both numpy 1.x and 2.x module paths are read.
"""

import collections
import importlib
import pickle
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from scipy import sparse

from torch_utils.misc import UserError

# numpy 1.x has no _core.
_multiarray = importlib.import_module("numpy._core.multiarray" if np.__version__[0] != "1" else "numpy.core.multiarray")


class _Chumpy:
    """Stand-in for chumpy objects: keeps the state, calls nothing."""

    def __init__(self, *args: Any) -> None:
        self.args = args
        self.state: dict = {}

    def __setstate__(self, state: Any) -> None:
        self.state = state if isinstance(state, dict) else {}


class _Refused(Exception):
    """A global that is not on the list."""


def _reconstruct_object(cls, base, state):
    """copy_reg._reconstructor for the few classes above, without looking anything up."""
    if cls is _Chumpy and base is object:
        return _Chumpy()
    if isinstance(cls, type) and cls in _SPARSE.values() and base is object:
        return cls.__new__(cls)
    raise _Refused(f"copy_reg._reconstructor of {getattr(cls, '__name__', cls)}")


def _encode(text: str, encoding: str = "latin1") -> bytes:
    """_codecs.encode, which protocol 2 uses for bytes."""
    if encoding not in ("latin1", "latin-1"):
        raise _Refused(f"_codecs.encode to {encoding}")
    return text.encode("latin1")


_SPARSE = {
    f"{kind}_{form}": getattr(sparse, f"{kind}_{form}")
    for kind in ("csc", "csr", "coo")
    for form in ("matrix", "array")
}
_NUMPY = {
    ("multiarray", "_reconstruct"): _multiarray._reconstruct,
    ("multiarray", "scalar"): _multiarray.scalar,
}
_PLAIN = {
    "list": list, "dict": dict, "tuple": tuple, "set": set, "frozenset": frozenset, "object": object,
    "int": int, "float": float, "bool": bool, "complex": complex, "str": str, "bytes": bytes,
    "bytearray": bytearray, "long": int, "unicode": str,
}  # fmt: skip


_OPCODES: dict[int, Any] = pickle._Unpickler.dispatch  # and their methods


class _Reader(pickle._Unpickler):
    """The interpreter's Python unpickler (its opcodes can be overridden) with the list above."""

    def find_class(self, module: str, name: str) -> Any:
        if module in ("builtins", "__builtin__") and name in _PLAIN:
            return _PLAIN[name]
        if (module, name) in (("copy_reg", "_reconstructor"), ("copyreg", "_reconstructor")):
            return _reconstruct_object
        if (module, name) == ("_codecs", "encode"):
            return _encode
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if module == "numpy" and name in ("ndarray", "dtype"):
            return getattr(np, name)
        if module in ("numpy.core.multiarray", "numpy._core.multiarray") and ("multiarray", name) in _NUMPY:
            return _NUMPY["multiarray", name]
        if module.split(".")[:2] == ["scipy", "sparse"] and name in _SPARSE:
            return _SPARSE[name]
        if module.split(".")[0] == "chumpy":
            return _Chumpy
        raise _Refused(f"{module}.{name}")

    def _build(self) -> None:
        """BUILD for instances only: a class or function must not be given new attributes."""
        target = vars(self)["stack"][-2]
        if isinstance(target, type) or callable(target):
            raise _Refused("new attributes for a class or function")
        _OPCODES[pickle.BUILD[0]](self)

    dispatch: ClassVar[dict[int, Any]] = {**_OPCODES, pickle.BUILD[0]: _build}


def _plain(value: Any, where: str) -> Any:
    """Replaces chumpy stand-ins by their arrays, in dictionaries, lists and tuples."""
    if isinstance(value, _Chumpy):
        if "x" not in value.state:
            raise UserError(f"{where}: a chumpy object without an array 'x' cannot be read")
        return np.asarray(_plain(value.state["x"], where))
    if isinstance(value, dict):
        return {key: _plain(item, where) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_plain(item, where) for item in value)
    return value


def load_pickle(path: str | Path) -> Any:
    """Reads a pickle of arrays and plain containers; chumpy objects come back as their arrays.

    Raises UserError naming the file, and the global asked for where the pickle wants anything else; nothing from the
    file is executed.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            value = _Reader(file, encoding="latin1").load()
    except _Refused as refused:
        raise UserError(f"{path}: refused, the pickle asks for {refused}; only arrays are allowed") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    except Exception as error:  # a damaged pickle raises nearly anything
        raise UserError(f"{path}: not a complete pickle file ({type(error).__name__}: {error})") from error
    return _plain(value, str(path))
