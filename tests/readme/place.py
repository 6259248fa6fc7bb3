"""A folder laid out as a user has it, in which the documents' commands run for real.

What a command reads is there before it runs: files from elsewhere are made up, and what another documented command
writes is written by that command.
"""

from collections.abc import Callable
from pathlib import Path

from tests.readme import made_up
from tests.readme.documents import ROOT, Command
from tests.readme.rules import find_rule
from tests.readme.runners import modules_are_there

OUTPUTS = ("--out", "--outdir")  # options that say what is written
LINKED = (
    *("configs", "smpl_models", "gen_video.py", "train.py"),
    *("requirements.lock", "requirements.txt", "requirements-metrics.txt", "environment.yml", "Makefile"),
)


class Place:
    """The folder, and what has been run in it."""

    def __init__(self, root: Path, commands: list[Command]) -> None:
        self.root = root
        self.ran: set[Command] = set()
        self.makers: dict[str, Callable[[], None]] = {}
        for name in LINKED:
            (root / name).symlink_to(ROOT / name)
        made_up.lay_out(root)
        for command in reversed(commands):  # so that the first one to write a path is its maker
            for option, value in zip(command.words, command.words[1:], strict=False):
                if option in OUTPUTS:
                    self.makers[value] = lambda command=command: self.run(command)
        for name, make in made_up.MADE_UP.items():
            self.makers[name] = lambda make=make: make(self)

    def run(self, command: Command) -> None:
        """The command, unless it has run before, and before it whatever makes what it reads."""
        if command in self.ran:
            return
        rule = find_rule(command)
        words = rule.applied_to(command)
        own = {option: value for option, value in zip(words, words[1:], strict=False) if option in OUTPUTS}
        for word in (*rule.needs, *words):
            if word not in own.values():
                self.need(word)
        rule.how(self.root, words, rule.instead)
        if rule.how is modules_are_there:  # which runs nothing
            return
        assert all((self.root / value).exists() for value in own.values()), f"{command}: not written: {own}"
        self.ran.add(command)

    def need(self, name: str) -> Path:
        """A path in the folder, made if it is not there and something makes it or a folder above it."""
        path = self.root / name
        if not path.exists():
            for known in (name, *map(str, Path(name).parents)):
                if known in self.makers:
                    self.makers[known]()
                    break
        return path
