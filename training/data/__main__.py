"""`python -m training.data COMMAND`: check, draw and prepare data sets. Every command is a module of its own."""

import importlib
import sys

from torch_utils.misc import CliParser, run_cli

COMMANDS = {
    "inspect": ("training.data.inspect_set", "check a data set, print its statistics, draw a picture sheet"),
    "synthesize": ("training.data.synthesize", "draw synthetic portraits with exact labels"),
    "blender": ("training.data.cycles.environment", "set up Blender for synthesize --renderer cycles"),
    "people": ("training.data.people_sheet", "draw a sheet of synthetic people from all sides"),
    "convert": ("training.data.convert", "take over portraits and face crops that are prepared already (SHHQ-HS)"),
    "prepare": (
        "training.data.prepare.cli",
        "make a set of photos or videos, tracked here or by other programs",
    ),
}


def main() -> None:
    """Command line; only the module of the chosen command is imported."""
    parser = CliParser(prog="python -m training.data", description=__doc__)
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = {}
    for name, (module_name, summary) in COMMANDS.items():
        command = subparsers.add_parser(name, help=summary, description=summary)
        if name in sys.argv[1:2]:
            module = importlib.import_module(module_name)
            module.add_arguments(command)
            run[name] = module.run
    args = parser.parse_args()
    run[args.command](args)


if __name__ == "__main__":
    run_cli(main)
