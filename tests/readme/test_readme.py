"""Whatever the documents tell a reader to type works, and whatever they point to is there."""

import re

import pytest

from tests.readme.documents import (
    DOCUMENTS,
    ROOT,
    all_commands,
    anchors_of,
    fences,
    files_named_in,
    links_in,
    name_of,
    split_commands,
)
from tests.readme.place import Place
from tests.readme.rules import RULES, find_rule
from tests.readme.runners import run_code

COMMANDS = all_commands()
CODE = [fence for path in DOCUMENTS for fence in fences(path, "python")]
FOLDERS = ("blender", "networks", "inference", "training", "torch_utils", "configs", "keyframes", "tests")
MAX_PICTURE = 4 * 2**20  # bytes


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return Place(tmp_path_factory.mktemp("readme"), COMMANDS)


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_command(place, command):
    place.run(command)


@pytest.mark.parametrize(("where", "text"), CODE, ids=[where for where, _ in CODE])
def test_code(place, where, text):
    for name in re.findall(r'"([\w/.]+)"', text):
        place.need(name)
    names = run_code(place.root, where, text)
    if "reader" in names:
        names["reader"].close()


def test_every_rule_is_of_use():
    used = [find_rule(command).pattern for command in COMMANDS]
    assert [rule.pattern for rule in RULES if rule.pattern not in used] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_links_lead_somewhere(path):
    for link in links_in(path):
        name, _, anchor = link.partition("#")
        target = (path.parent / name) if name else path
        assert target.exists(), f"{name_of(path)}: {link}: no such file"
        assert not anchor or anchor in anchors_of(target), f"{name_of(path)}: {link}: no such heading"
        assert target.suffix not in (".gif", ".png", ".jpg") or target.stat().st_size <= MAX_PICTURE, link


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_files_in_backticks_are_there(path):
    known = [
        f"/{name_of(file)}"
        for pattern in ("*", *(f"{folder}/**/*.*" for folder in FOLDERS))
        for file in ROOT.glob(pattern)
    ]
    assert [name for name in files_named_in(path) if not any(file.endswith(f"/{name}") for file in known)] == []


def test_words_of_a_command():
    text = "python a.py --x 1 \\\n    --y '2 3'  # comment\nmake b && . c/d\n\n# nothing\n"
    assert split_commands(text) == [("python", "a.py", "--x", "1", "--y", "2 3"), ("make", "b"), (".", "c/d")]
