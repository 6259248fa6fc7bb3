"""A pickle reader that builds arrays and plain containers and nothing else, for third-party files (SMPL, trackers).

Pickles are programs. This reader knows a short list of globals (numpy arrays and scalars, scipy.sparse matrices, torch
tensors, plain containers) and chumpy's `Ch`, which becomes a stand-in that only holds its state; any other global ends
in UserError before anything is called. Python 2 pickles (latin1) and both numpy 1.x and 2.x module paths are read.

**Snapshots of StyleGAN's kin** are pickles of whole modules, many with their own source code in them. For those,
:func:`load_inert` has a stand-in (:class:`Inert`) for whatever is not on the list: it keeps what it was made of.

**joblib's files** (`joblib.dump` since 0.10) are pickles in which an array is a `NumpyArrayWrapper` that says its
shape, order and dtype; its numbers follow raw, behind a byte that counts the padding where the wrapper has an alignment
(joblib >= 1.2). An array of objects follows as a pickle of its own. The whole may be compressed.
"""

import bz2
import collections
import gzip
import importlib
import io
import lzma
import math
import pickle
import zlib
from pathlib import Path
from typing import IO, Any, ClassVar

import numpy as np
import torch
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


class Inert(dict):
    """Stand-in for an object of any other class, or for what a function would have given: calls nothing.

    Attributes:
        made_by: module and name of that class or function.
        args: what it was called with.
        state: its attributes, where the pickle has some.

    Items, of classes that are dictionaries, are its own.
    """

    made_by: ClassVar[str] = ""

    args: tuple
    state: dict[str, Any]

    def __new__(cls, *args: Any) -> "Inert":  # the only one that pickles are sure to call
        made = super().__new__(cls)
        made.args, made.state = args, {}
        return made

    def __init__(self, *_: Any) -> None:
        super().__init__()

    def __setstate__(self, state: Any) -> None:
        parts = state if isinstance(state, tuple) else (state,)  # of __dict__ and of slots
        self.state = {key: value for part in parts if isinstance(part, dict) for key, value in part.items()}

    def append(self, item: Any) -> None:
        """As lists' subclasses are filled."""
        self[len(self)] = item


class _JoblibArray:
    """Stand-in for joblib's `NumpyArrayWrapper`: says which array follows in the file."""

    def read(self, file: IO[bytes]) -> np.ndarray:
        """The array whose numbers come next in ``file``."""
        state = vars(self)
        dtype, shape, order = state["dtype"], state["shape"], state["order"]
        if not isinstance(dtype, np.dtype) or not all(isinstance(size, int) and size >= 0 for size in shape):
            raise ValueError("expected the shape and dtype of an array")
        if dtype.hasobject:
            return _Reader(file, encoding="latin1").load()
        if state.get("numpy_array_alignment_bytes") is not None:
            file.read(file.read(1)[0])
        length = math.prod(shape) * dtype.itemsize
        data = file.read(length)
        if len(data) != length:
            raise EOFError("an array is cut short")
        return np.frombuffer(bytearray(data), dtype).reshape(shape, order=order)


class _Refused(Exception):
    """A global that is not on the list."""


def _reconstruct_object(cls, base, state):
    """copy_reg._reconstructor for the few classes above, without looking anything up."""
    if cls is _Chumpy and base is object:
        return _Chumpy()
    if isinstance(cls, type) and issubclass(cls, Inert):
        return cls()
    if isinstance(cls, type) and cls in _SPARSE.values() and base is object:
        return cls.__new__(cls)
    raise _Refused(f"copy_reg._reconstructor of {getattr(cls, '__name__', cls)}")


def _encode(text: str, encoding: str = "latin1") -> bytes:
    """_codecs.encode, which protocol 2 uses for bytes."""
    if encoding not in ("latin1", "latin-1"):
        raise _Refused(f"_codecs.encode to {encoding}")
    return text.encode("latin1")


def _frombuffer(buffer: Any, dtype: np.dtype, shape: tuple, order: Any) -> np.ndarray:
    """numpy's own of this name, which protocol 5 uses for arrays."""
    return np.frombuffer(buffer, dtype=dtype).reshape(shape, order=order)


def _storage(data: bytes) -> Any:
    """torch.storage._load_from_bytes, which runs nothing here."""
    return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)


def _tensor(storage: Any, offset: int, size: tuple, stride: tuple, *_: Any) -> np.ndarray:
    """torch._utils._rebuild_tensor_v2, as an array."""
    values = torch.tensor([], dtype=storage.dtype).set_(storage._untyped_storage)
    return torch.as_strided(values, size, stride, offset).numpy()


def _parameter(data: Any, *_: Any) -> Any:
    """torch._utils._rebuild_parameter, as the array that it is of."""
    return data


_SPARSE = {
    f"{kind}_{form}": getattr(sparse, f"{kind}_{form}")
    for kind in ("csc", "csr", "coo")
    for form in ("matrix", "array")
}
_NUMPY = {
    ("multiarray", "_reconstruct"): _multiarray._reconstruct,
    ("multiarray", "scalar"): _multiarray.scalar,
}
_TORCH = {("torch._utils", "_rebuild_tensor_v2"): _tensor, ("torch.storage", "_load_from_bytes"): _storage}
_PLAIN = {
    "list": list, "dict": dict, "tuple": tuple, "set": set, "frozenset": frozenset, "object": object,
    "int": int, "float": float, "bool": bool, "complex": complex, "str": str, "bytes": bytes,
    "bytearray": bytearray, "long": int, "unicode": str,
}  # fmt: skip


_OPCODES: dict[int, Any] = pickle._Unpickler.dispatch  # and their methods


class _Reader(pickle._Unpickler):
    """The interpreter's Python unpickler (its opcodes can be overridden) with the list above."""

    def __init__(self, file: IO[bytes], **settings: Any) -> None:
        super().__init__(file, **settings)
        self._source = file

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
        if module in ("numpy", "numpy.core.memmap", "numpy._core.memmap") and name == "memmap":
            return np.ndarray  # which joblib's wrapper names and nothing here makes
        if module in ("numpy.core.numeric", "numpy._core.numeric") and name == "_frombuffer":
            return _frombuffer
        if module.split(".")[0] == "joblib" and name == "NumpyArrayWrapper":
            return _JoblibArray
        if (module, name) in _TORCH:
            return _TORCH[module, name]
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
        if isinstance(target, _JoblibArray):
            stack = vars(self)["stack"]
            vars(target).update(stack.pop())
            stack[-1] = target.read(self._source)
        else:
            _OPCODES[pickle.BUILD[0]](self)

    dispatch: ClassVar[dict[int, Any]] = {**_OPCODES, pickle.BUILD[0]: _build}


class _InertReader(_Reader):
    """The reader that knows a stand-in for everything."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return _parameter
        try:
            return super().find_class(module, name)
        except _Refused:
            return type("Inert", (Inert,), {"made_by": f"{module}.{name}"})

    def _build(self) -> None:
        """BUILD for instances only, as in the parent; stand-ins take their state themselves."""
        stack = vars(self)["stack"]
        if isinstance(stack[-2], Inert):
            state = stack.pop()
            stack[-1].__setstate__(state)
        else:
            super()._build()

    dispatch: ClassVar[dict[int, Any]] = {**_Reader.dispatch, pickle.BUILD[0]: _build}


def load_inert(path: str | Path) -> Any:
    """Reads a pickle of arrays, containers and objects of any classes, which come back as :class:`Inert`; torch's
    tensors and parameters come back as arrays.

    Raises UserError naming the file: it is no whole pickle. Nothing from the file is executed.
    """
    try:
        with Path(path).open("rb") as file:
            return _InertReader(file, encoding="latin1").load()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    except Exception as error:  # a damaged pickle raises nearly anything
        raise UserError(f"{path}: not a complete pickle file ({type(error).__name__}: {error})") from error


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
    """Reads a pickle, or a file of joblib's, of arrays and plain containers.

    chumpy objects come back as their arrays, torch's tensors as arrays.

    Raises UserError naming the file, and the global asked for where the pickle wants anything else; nothing from the
    file is executed.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            return read_pickle(_decompressed(file, path), path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (EOFError, zlib.error, lzma.LZMAError) as error:
        raise UserError(f"{path}: compressed and cut short or damaged ({error})") from error


def read_pickle(file: IO[bytes], where: str | Path) -> Any:
    """What the pickle that begins at the position of an open file holds; as :func:`load_pickle`."""
    try:
        return _plain(_Reader(file, encoding="latin1").load(), str(where))
    except _Refused as refused:
        raise UserError(f"{where}: refused, the pickle asks for {refused}; only arrays are allowed") from None
    except UserError:
        raise
    except Exception as error:  # a damaged pickle raises nearly anything
        raise UserError(f"{where}: not a complete pickle file ({type(error).__name__}: {error})") from error


def _decompressed(file: io.BufferedReader, path: Path) -> IO[bytes]:
    """The pickle in ``file``, whatever joblib compressed it by."""
    start = file.peek(6)
    if start.startswith(b"x"):
        return io.BytesIO(zlib.decompress(file.read()))
    if start.startswith(b"ZF"):
        raise UserError(f"{path}: written by joblib before 0.10; load and dump it by a newer one")
    if start.startswith(b"\x04\x22\x4d\x18"):
        raise UserError(f"{path}: compressed by lz4, which is not read; dump it with joblib's compress=('zlib', 3)")
    for prefixes, module in (((b"\x1f\x8b",), gzip), ((b"BZh",), bz2), ((b"\xfd7zXZ", b"\x5d\x00"), lzma)):
        if start.startswith(prefixes):
            return io.BytesIO(module.open(file).read())
    return file
