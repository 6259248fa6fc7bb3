"""Command line: ``python -m inference.portable page --help``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from inference.portable.page import write_page
from torch_utils.misc import CliParser, run_cli

PAGE_EPILOG = """\
folder: all of it goes on a web host, or is opened from a disk: index.html. avatar.glb.js is the avatar once more, for
  pages opened from a disk, which may not read other files; a web host does not need it. Other files there stay.
exit code: 0 done, 2 bad input (one line says what), 130 interrupted.
"""


def make_page(argv: Sequence[str]) -> None:
    """``python -m inference.portable page``."""
    parser = CliParser(
        prog="python -m inference.portable page",
        description="Write a page that plays an avatar, as a folder of static files.",
        epilog=PAGE_EPILOG,
    )
    parser.add_argument("--glb", type=Path, required=True, help="the avatar, a .glb file")
    parser.add_argument("--out", type=Path, required=True, help="folder, made if missing")
    args = parser.parse_args(argv)
    write_page(args.glb, args.out)
    print(f"wrote {args.out}: open {args.out / 'index.html'}, or put the folder on a web host")


def main(argv: Sequence[str] | None = None) -> None:
    words = list(sys.argv[1:] if argv is None else argv)
    parser = CliParser(prog="python -m inference.portable", description="People who leave the program.")
    parser.add_argument("command", choices=["page"], help="page: a page that plays an avatar")
    parser.parse_args(words[:1])
    make_page(words[1:])


if __name__ == "__main__":
    run_cli(main)
