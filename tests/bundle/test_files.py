"""What is written is there whole or not at all, whoever is killed, and a reader sees one state of it."""

from __future__ import annotations

import os
import signal
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from ssmc.bundle import exchange as exchanging
from ssmc.bundle import files
from ssmc.bundle.files import read_files, write_file, write_folder
from ssmc.errors import UsageError

NAMES = ("program.json", "weights.npz", "report.json")
LIST = b'{"files": {"weights.npz": "", "report.json": ""}}'
POINTS = ("mkdir", "write_bytes", "rename", "replace")


def bundle(mark: bytes) -> dict[str, bytes]:
    return {"program.json": LIST + b" " * mark[0], "weights.npz": mark * 50_000, "report.json": mark * 9}


OLD, NEW = bundle(b"\x01"), bundle(b"\x02")


def in_child(work: Callable[[], None]) -> int:
    """Exit status of a forked process that does the work; minus the signal where it was killed."""
    child = os.fork()
    if child == 0:
        status = 99
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def killed_at(call: int, work: Callable[[], None]) -> int:
    """Run the work in a child that is killed before its ``call``-th change of the file system, and right after."""

    def run() -> None:
        left = [call]

        def counted(original: Callable[..., object]) -> Callable[..., object]:
            def method(*args: object, **options: object) -> object:
                left[0] -= 1
                if left[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return original(*args, **options)

            return method

        for name in POINTS:
            setattr(Path, name, counted(getattr(Path, name)))
        files.exchange = counted(files.exchange)
        files.shutil.rmtree = counted(files.shutil.rmtree)
        work()

    return in_child(run)


def state(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("atomic", [True, False])
@pytest.mark.parametrize("there", [True, False])
def test_a_kill_at_any_point_leaves_old_or_new(
    tmp_path: Path, there: bool, atomic: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not atomic:
        monkeypatch.setattr(exchanging, "_exchanged", lambda fresh, place: False)
    kills = 0
    for call in range(1, 40):
        place = tmp_path / str(call) / "b"
        place.parent.mkdir()
        if there:
            write_folder(place, OLD)
        status = killed_at(call, lambda place=place: write_folder(place, NEW))
        kills += status == -signal.SIGKILL
        if atomic:
            assert (state(place) if place.exists() else None) in (OLD if there else None, NEW)
        elif place.exists():
            assert state(place) in (OLD, NEW)
        write_folder(place, NEW)
        assert state(place) == NEW
        if atomic:
            assert [path.name for path in place.parent.iterdir()] == ["b"]
        if status == 0:
            break
    assert kills >= 5
    assert status == 0


def test_a_kill_while_a_file_is_written_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    for call in range(1, 10):
        path.write_bytes(b"old")
        status = killed_at(call, lambda: write_file(path, b"new"))
        assert path.read_bytes() in (b"old", b"new")
        write_file(path, b"newer")
        assert [entry.name for entry in tmp_path.iterdir()] == ["baseline.json"]
        if status == 0:
            break
    assert call > 2


def test_two_writers_and_a_reader_never_mix(tmp_path: Path) -> None:
    place = tmp_path / "b"
    write_folder(place, OLD)
    writers = []
    for content in (OLD, NEW):
        child = os.fork()
        if child == 0:
            while True:
                write_folder(place, content)
        writers.append(child)
    try:
        seen: list[dict[str, bytes]] = []
        while len(seen) < 300 or not (OLD in seen and NEW in seen):
            seen.append(read_files(place, lambda marker: NAMES[1:]))
    finally:
        for child in writers:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    assert all(found in (OLD, NEW) for found in seen)


def test_files_of_the_bundle_before_go_and_others_stay(tmp_path: Path) -> None:
    place = tmp_path / "b"
    write_folder(place, OLD)
    (place / "notes.txt").write_text("mine")
    (place / "plots").mkdir()
    (place / "plots" / "a.svg").write_text("mine too")
    write_folder(place, {"program.json": b'{"files": {}}'})
    assert sorted(path.name for path in place.iterdir()) == ["notes.txt", "plots", "program.json"]
    assert (place / "plots" / "a.svg").read_text() == "mine too"


def test_a_link_is_written_through(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to("disk/b", target_is_directory=True)
    write_folder(tmp_path / "link", OLD)
    write_folder(tmp_path / "link", NEW)
    assert (tmp_path / "link").is_symlink()
    assert state(tmp_path / "disk" / "b") == NEW
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "file").chmod(0o640)
    (tmp_path / "alias").symlink_to("file")
    write_file(tmp_path / "alias", b"new")
    assert (tmp_path / "alias").is_symlink()
    assert (tmp_path / "file").read_bytes() == b"new"
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640


def test_what_is_no_file_is_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name, kind in (("pipe", "a pipe"), ("folder", "a folder")):
        with pytest.raises(UsageError, match=f"SSMC-B05.*is {kind}"):
            write_file(tmp_path / name, b"")
    with pytest.raises(UsageError, match=r"SSMC-B05.*is a device"):
        write_file(Path("/dev/null"), b"")
    with pytest.raises(UsageError, match=r"SSMC-B01.*is a pipe"):
        write_folder(tmp_path / "pipe", OLD)
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_a_marker_of_lists_without_end_lists_no_files() -> None:
    assert files.listed_files(b'{"files": ' + b"[" * 200_000) == {}
