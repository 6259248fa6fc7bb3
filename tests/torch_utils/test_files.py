"""Folders as people have them."""

import os

import pytest

from torch_utils.files import is_clutter, list_files
from torch_utils.misc import UserError, one_line, printable

GBK = os.fsdecode("照片".encode("gbk") + b".png")  # as unzip leaves names of a Chinese Windows


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


def test_clutter_is_passed_over(tmp_path):
    clutter = [".DS_Store", "._a.png", "Thumbs.db", "desktop.ini", "__MACOSX/._b.png", "@eaDir/b.png", ".git/c.png"]
    assert all(map(is_clutter, clutter)) and not is_clutter("images/a.png") and not is_clutter("thumbs/a.png")
    touch(tmp_path, *clutter, "b.PNG", "a.png", "c.txt", "more/d.png")
    (tmp_path / "folder.png").mkdir()

    def names(*arguments, **options):
        return [str(path.relative_to(tmp_path)) for path in list_files(tmp_path, *arguments, **options)]

    assert names() == ["a.png", "b.PNG", "c.txt"]
    assert names([".png"]) == ["a.png", "b.PNG"]
    assert names([".png"], recursive=True) == ["a.png", "b.PNG", "more/d.png"]
    hidden = tmp_path / ".cache/pictures"  # only what lies in the folder is judged, not where the folder lies
    touch(hidden, "e.png")
    assert list_files(hidden) == [hidden / "e.png"]


def test_folders_that_are_not_there(tmp_path):
    with pytest.raises(UserError, match="nowhere: cannot be read: No such file or directory"):
        list_files(tmp_path / "nowhere")


def test_names_that_are_no_text(tmp_path):
    touch(tmp_path, GBK)
    (path,) = list_files(tmp_path, [".png"])
    assert printable(path.name) == "\\xd5\\xd5\u01ac.png"  # the bytes d5 d5 c6 ac: the last two happen to be UTF-8
    assert one_line(f"{path.name}\n missing").encode() == b"\\xd5\\xd5\xc6\xac.png missing"
    assert printable("照片.png") == "照片.png"
