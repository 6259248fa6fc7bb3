"""SMPL fits of photos and frames, by name."""

from __future__ import annotations

import argparse
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from networks.person.tracking import SmplFit
from networks.person.tracking_files.layouts import Detection, detections, photo_stem
from networks.person.tracking_files.record import smpl_fit
from torch_utils.bounds import real_number
from torch_utils.files import list_files
from torch_utils.misc import UserError, reason
from torch_utils.safe_npz import SafeArchive
from torch_utils.safe_pickle import load_pickle

SUFFIXES = (".npz", ".json", ".pkl", ".npy")
LARGEST = "largest"
WHOLE_VIDEO = "video_results.npz"  # ROMP's: what its other files hold, once more


def add_fit_options(parser: argparse.ArgumentParser, *, required: bool) -> None:
    """``--smpl`` and what goes with it."""
    add = parser.add_argument
    add("--smpl", required=required, metavar="FITS", help="SMPL fits: one .npz, .json, .pkl, .npy, or a folder of them")
    add("--person", metavar=f"ID|{LARGEST}", help="whom to take where a photo or frame has several people")
    add("--smpl_names", metavar="FILE", help="names (and boxes) of fits without: SPIN's data set .npz, or .txt lines")
    scale_help = "by how much the tracker enlarged the boxes in its file (%(default)s; VIBE: 1.1)"
    add("--box_scale", type=real_number(0.5, 2), default=1.0, help=scale_help)


def open_fits(args: argparse.Namespace) -> SmplFits:
    """The fits that the options of :func:`add_fit_options` name. Raises UserError as :class:`SmplFits`."""
    return SmplFits(args.smpl, person=args.person, names=args.smpl_names, box_scale=args.box_scale)


class SmplFits:
    """SMPL fits by the name (without folders and suffix) of the photo or frame.

    Args:
        path: one file for many photos, or a folder with a file (or a folder of files) a photo; see ``layouts.py``.
        person: whom to take: as their program calls them, or ``largest``, who is largest in each photo.
        names: file with the names of fits that have none, in their order; boxes in it are taken, too.
        box_scale: how much larger than the file says the boxes were that the tracker looked at.

    Raises:
        UserError: there is no such file, it is no file of fits, or has no such person.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        person: str | None = None,
        names: str | Path | None = None,
        box_scale: float = 1.0,
    ) -> None:
        self.path = Path(path)
        self.box_scale = box_scale
        self._person = person
        found = _everybody(self.path)
        if names is not None:
            found = _named(found, Path(names), self.path)
        found = _counted(found)
        everybody = Counter(str(one.person) for one in found if not isinstance(one.record, UserError))
        if person not in (None, LARGEST):
            found = [one for one in found if one.person == person or isinstance(one.record, UserError)]
            if person not in everybody:
                raise UserError(f"--person {person}: expected one of those in {self.path}: {_people(everybody)}")
        self._found: dict[str | int, list[Detection]] = defaultdict(list)
        for detection in found:
            self._found[detection.name].append(detection)
        if not self._found:
            raise UserError(f"{self.path}: expected SMPL fits ({', '.join(SUFFIXES)}), found none")

    @property
    def names(self) -> list[str]:
        """Names that have a fit, sorted."""
        return sorted(map(str, self._found))

    @property
    def counted(self) -> list[int]:
        """Numbers of fits that have no names, sorted: frames of a video, from 0."""
        return sorted(name for name in self._found if isinstance(name, int))

    def name_frames(self, names: Mapping[int, str]) -> None:
        """Give counted fits their names; those that ``names`` leaves out go.

        Raises:
            UserError: there are numbers beyond the last of ``names``: they belong to other frames.
        """
        if (counted := self.counted) and (not names or counted[-1] > max(names)):
            raise UserError(
                f"{self.path}: its fits are counted and go up to {counted[-1]} (from 0), but there are only "
                f"{len(names)} names for them; expected all the frames that the tracker had, or --smpl_names"
            )
        for number in counted:
            found = self._found.pop(number)
            if number in names:
                self._found[names[number]] += found

    def check(self, names: Iterable[str]) -> None:
        """What can be said once, before photos are looked at one by one.

        Raises:
            UserError: none of the photos ``names`` has a fit, or several people are in one and none is chosen.
        """
        names = list(names)
        there = [name for name in names if name in self._found]
        if not there:
            raise UserError(f"{self.path}: expected fits of {_some(names)}, found those of {_some(self.names)}")
        crowded = [name for name in there if len(self._found[name]) > 1]
        if crowded and self._person != LARGEST:
            people = Counter(str(one.person) for name in there for one in self._found[name])
            raise UserError(
                f"{self.path}: {len(crowded)} of {len(there)} photos have several people (the first: '{crowded[0]}'); "
                f"choose by --person: {LARGEST}, or one of {_people(people)}"
            )

    def fit(self, name: str, photo_size: tuple[int, int] | None = None) -> SmplFit:
        """The fit of a photo, whose width and height tell where some cameras look.

        Raises:
            UserError: there is none or more than one, or it is not sound.
        """
        found = self._found.get(name, [])
        if len(found) > 1 and self._person == LARGEST:
            return max((self._fit(one, photo_size or (1, 1)) for one in found), key=_height)
        if len(found) != 1:
            several = f"; choose by --person: {', '.join(str(one.person) for one in found)} or {LARGEST}"
            count = f"{len(found)}{several}" if found else "none"
            raise UserError(f"{self.path}: expected one SMPL fit of '{name}', found {count}")
        return self._fit(found[0], photo_size)

    def _fit(self, found: Detection, photo_size: tuple[int, int] | None) -> SmplFit:
        if isinstance(found.record, UserError):
            raise found.record
        where = f"{self.path}: '{found.name}'"
        return smpl_fit(found.record, where, box_scale=self.box_scale, photo_size=photo_size)


def _everybody(path: Path) -> list[Detection]:
    """Everything in a file or folder. A damaged file in a folder is an error of its own photo alone."""
    if not path.is_dir():
        return detections(_load(path), str(path))
    found: list[Detection] = []
    for file in list_files(path, SUFFIXES):
        if file.name != WHOLE_VIDEO:
            found += _of_photo(file, file.stem)
    if not found:  # SMPLify-X: NAME/000.pkl
        for file in list_files(path, (".pkl",), recursive=True):
            found += [one._replace(person=file.stem) for one in _of_photo(file, file.parent.name)]
    return found


def _of_photo(file: Path, name: str) -> list[Detection]:
    try:
        return detections(_load(file), str(file), name)
    except UserError as error:
        return [Detection(name, None, error)]


def _load(path: Path) -> Any:
    """What a file holds."""
    if not path.is_file():
        raise UserError(f"{path}: no such file of SMPL fits")
    if path.suffix == ".pkl":
        return load_pickle(path)
    if path.suffix == ".npz":
        archive = SafeArchive(path)
        return {"results": archive["results"]} if "results" in archive else archive
    try:
        if path.suffix == ".json":
            return json.loads(path.read_bytes())
        if path.suffix == ".npy":
            return np.load(path, allow_pickle=False)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {reason(error)}") from None
    except Exception as error:  # numpy and json raise many kinds for a damaged file
        raise UserError(f"{path}: damaged or cut short ({type(error).__name__}: {error})") from None
    raise UserError(f"{path}: expected SMPL fits as {', '.join(SUFFIXES)}, found '{path.suffix}'")


def _counted(found: list[Detection]) -> list[Detection]:
    """People whose program has no names for them are called by their place in the photo: 0, 1, ..."""
    seen: Counter[str | int] = Counter()
    named = []
    for one in found:
        named.append(one if one.person is not None else one._replace(person=str(seen[one.name])))
        seen[one.name] += 1
    return named


def _named(found: list[Detection], names: Path, where: Path) -> list[Detection]:
    """Counted fits with the names, and boxes where they have none, of another file's rows."""
    if names.suffix == ".txt":
        try:
            lines = names.read_text(encoding="utf-8-sig").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"--smpl_names: {names}: cannot be read ({error})") from None
        rows = [Detection(photo_stem(line.strip()), None, {}) for line in lines if line.strip()]
    else:
        table = {key: value for key, value in _load(names).items() if key != "has_smpl"}  # every row counts here
        rows = detections(table, f"--smpl_names: {names}")
    counted = [one for one in found if isinstance(one.name, int)]
    if len(counted) != len(found) or len(rows) != len(found):
        raise UserError(
            f"--smpl_names: {names}: expected a name for each of the {len(counted)} fits of {where} that have none, "
            f"found {len(rows)}"
        )
    boxes = ("center", "scale", "bbox_center", "bbox_scale")
    return [
        Detection(row.name, row.person, {key: row.record[key] for key in boxes if key in row.record} | fit.record)
        for fit, row in zip(found, rows, strict=True)
    ]


def _height(fit: SmplFit) -> float:
    """How large a person is in a photo, to compare with others of the same photo."""
    if fit.camera is None:
        raise UserError(f"--person {LARGEST}: expected fits that say where people are in the photo, found none")
    return fit.camera.pixels_per_metre


def _people(counts: Counter[str]) -> str:
    parts = [f"{person} ({count} times)" for person, count in counts.most_common(8)]
    return ", ".join(parts) + (", ..." if len(counts) > 8 else "")


def _some(names: list[str]) -> str:
    more = f" ... ({len(names)} in all)" if len(names) > 4 else ""
    return ", ".join(f"'{name}'" for name in names[:4]) + more
