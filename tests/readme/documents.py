"""What the documents say: commands, Python, links, headings and names of files.

A command is a line of a code fence, a line of a table, or a span of running text in backticks, that begins with one of
PROGRAMS.
"""

import re
import shlex
from itertools import dropwhile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = (
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *(ROOT / folder / "README.md" for folder in ("ckpts", "keyframes", "smpl_models", "tests/benchmarks")),
)
PROGRAMS = {"python", "python3", "torchrun", "make", "pip", "conda", "zip", "pytest", "git", ".", "cd", "bash", "sh"}
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SETTING = re.compile(r"[A-Z_]+=")
SHELL = ("", "sh", "bash", "console")  # languages of fences
SPAN = re.compile(r"`([^`]+)`")


class Command(NamedTuple):
    where: str  # README.md:31
    words: tuple[str, ...]

    def __str__(self) -> str:
        return shlex.join(self.words)


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def without_fences(text: str) -> str:
    """Fences as empty lines."""
    return FENCE.sub(lambda match: "\n" * match[0].count("\n"), text)


def fences(path: Path, language: str) -> list[tuple[str, str]]:
    """(where it begins, text) of the code fences in a language."""
    text = path.read_text(encoding="utf-8")
    found = [match for match in FENCE.finditer(text) if match[1] == language]
    return [(f"{name_of(path)}:{text[: match.start(2)].count(chr(10)) + 1}", match[2]) for match in found]


def split_commands(text: str) -> list[tuple[str, ...]]:
    """Words of every command in shell text: comments dropped, continued lines joined, `a && b` apart."""
    found: list[list[str]] = []
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        found.append([])
        for word in shlex.split(line, comments=True):
            if word == "&&":
                found.append([])
            else:
                found[-1].append(word)
    return [tuple(words) for words in found if words]


def is_command(words: tuple[str, ...]) -> bool:
    """Whether words begin with a program, behind settings such as OMP_NUM_THREADS=1, and do not end there."""
    rest = list(dropwhile(SETTING.match, words))
    return len(rest) > 1 and rest[0] in PROGRAMS


def commands_in(path: Path) -> list[Command]:
    found = []
    for where, text in (fence for language in SHELL for fence in fences(path, language)):
        commands = split_commands(text)
        if is_command(commands[0]):  # else it is a drawing
            found += [Command(where, words) for words in commands]
    text = without_fences(path.read_text(encoding="utf-8"))
    for match in SPAN.finditer(text):
        if SETTING.match(match[1]) or match[1].split()[0] in PROGRAMS:
            where = f"{name_of(path)}:{text[: match.start()].count(chr(10)) + 1}"
            commands = split_commands(" ".join(match[1].split()))
            found += [Command(where, words) for words in commands if is_command(words)]
    return found


def all_commands() -> list[Command]:
    """Of all documents, each once."""
    found: dict[tuple[str, ...], Command] = {}
    for path in DOCUMENTS:
        for command in commands_in(path):
            found.setdefault(command.words, command)
    return list(found.values())


def links_in(path: Path) -> list[str]:
    """Targets of links and pictures that lie in this repository."""
    targets = re.findall(r"\]\(([^)\s]+)\)", without_fences(path.read_text(encoding="utf-8")))
    return [target for target in targets if "://" not in target]


def anchors_of(path: Path) -> set[str]:
    """As GitHub makes them from headings: lower case, spaces to hyphens, other punctuation dropped."""
    headings = re.findall(r"^#+ (.+)$", without_fences(path.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def files_named_in(path: Path) -> set[str]:
    """Paths of code in backticks, such as `networks/person/priors.py`."""
    spans = SPAN.findall(without_fences(path.read_text(encoding="utf-8")))
    return {span for span in spans if re.fullmatch(r"[\w./]*\w\.(py|h|js)", span)}
