"""Points are done once, by whoever does them; what is in the file is done, whoever was killed."""

from __future__ import annotations

import csv
import io
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

import ssmc
from ssmc import cluster
from ssmc.bundle.folder import Bundle
from ssmc.errors import UsageError
from ssmc.sweep import evaluate
from ssmc.sweep.page import as_csv, as_html, as_table
from ssmc.sweep.run import run_sweep
from ssmc.sweep.spec import read_sweep
from ssmc.sweep.store import Result, Store
from tests.cli.conftest import ssmc as run
from tests.sweep.sweeping import written


def figures(results: list[Result]) -> list[tuple[object, object]]:
    return [(result.point, result.figures) for result in results]


def done(path: Path, store: Path, **how: object) -> list[Result]:
    with Store(store) as kept:
        run_sweep(read_sweep(path), kept, **how)  # type: ignore[arg-type]
        return kept.results(read_sweep(path))


def test_a_point_is_what_a_compilation_says(tmp_path: Path) -> None:
    path = written(tmp_path)
    results = done(path, tmp_path / "r.sqlite")
    assert len(results) == 6
    last = results[-1]
    from ssmc.targets.aimc.target import AimcTarget

    target = AimcTarget(packing="multiplexed", set=("adc.columns_per_adc=4",))
    cost = ssmc.compile(tmp_path / "model.onnx", target, oracle=False).cost(100)
    assert last.figures["cost.area_um2.nominal"] == cost["area_um2"]["nominal"]
    assert last.figures["cost.arrays"] == cost["arrays"]
    assert 0 <= last.figures["accuracy"] <= 1
    areas = {
        r.point["adc.columns_per_adc"]: r.figures["cost.area_um2.nominal"]
        for r in results
        if r.point["packing"] == "one"
    }
    assert areas[4] > areas[16] > areas[64]


def test_a_second_run_does_nothing_and_new_points_join(tmp_path: Path) -> None:
    path, store = written(tmp_path), tmp_path / "r.sqlite"
    first = done(path, store)
    seen: list[Result] = []
    with Store(store) as kept:
        run_sweep(read_sweep(path), kept, progress=seen.append)
        assert not seen
        assert kept.results(read_sweep(path)) == first
    more = written(tmp_path, '[grid]\n"adc.columns_per_adc" = [64, 2]\npacking = ["one", "multiplexed"]')
    with Store(store) as kept:
        run_sweep(read_sweep(more), kept, progress=seen.append)
        assert [result.point["adc.columns_per_adc"] for result in seen] == [2, 2]
        assert len(kept.results(read_sweep(more))) == 4


def test_a_point_that_is_refused_is_done_and_says_why(tmp_path: Path) -> None:
    path = written(tmp_path, '[grid]\n"array.count" = [0, 1]\npacking = ["one"]')
    good, refused = done(path, tmp_path / "r.sqlite")
    assert not good.error
    assert "SSMC-A03" in refused.error
    assert refused.figures == {}
    text = as_table(read_sweep(path), [good, refused])
    assert "SSMC-A03" in text.splitlines()[-1]


def test_chips_need_a_target_with_devices(tmp_path: Path) -> None:
    path = written(tmp_path, "[grid]\nchips = [0, 1]", 'target = "int"\ndata = "data.npz"')
    good, refused = done(path, tmp_path / "r.sqlite")
    assert not good.error
    assert "SSMC-U12" in refused.error


def test_a_bug_of_ours_stops_no_sweep_and_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, store = written(tmp_path, '[grid]\npacking = ["one", "multiplexed"]'), tmp_path / "r.sqlite"
    good, make = done(path, tmp_path / "whole.sqlite"), evaluate.compile_model

    def broken(*args: object, **options: object) -> Bundle:
        if args[1].packing == "one":  # type: ignore[attr-defined]
            raise AssertionError("no bank")
        return make(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(evaluate, "compile_model", broken)
    first, second = done(path, store)
    assert "SSMC-X70" in first.error
    assert "no bank" in first.error
    assert not second.error
    monkeypatch.setattr(evaluate, "compile_model", make)
    assert figures(done(path, store)) == figures(good)


@pytest.mark.filterwarnings("ignore::ssmc.errors.SsmcWarning")
def test_ranges_are_chosen_on_the_sequences_named(tmp_path: Path) -> None:
    path = written(tmp_path, '[grid]\n"adc.bits" = [4]\n[[points]]\n"adc.bits" = 4\nranges = "data.npz"')
    bundles = [evaluate.compiled_point(point) for point in read_sweep(path).points]
    assert [bundle.compiled.options.ranges for bundle in bundles] == [False, True]  # type: ignore[attr-defined]


def test_processes_give_the_same_rows(tmp_path: Path) -> None:
    path = written(tmp_path)
    assert figures(done(path, tmp_path / "a.sqlite")) == figures(done(path, tmp_path / "b.sqlite", jobs=2))


def test_killed_and_run_again_every_point_is_there_once(tmp_path: Path) -> None:
    """kill -9 after the first result, twice; then to the end. The rows are those of a run that nobody killed."""
    path = written(tmp_path)
    expected = figures(done(path, tmp_path / "whole.sqlite"))
    store = tmp_path / "r.sqlite"
    for least in (1, 2):
        child = subprocess.Popen([sys.executable, "-m", "ssmc", "sweep", path, "-o", store], stdout=subprocess.DEVNULL)
        while child.poll() is None and count(store) < least:
            time.sleep(0.02)
        child.send_signal(signal.SIGKILL)
        child.wait()
        assert count(store) >= least
    assert figures(done(path, store)) == expected
    assert count(store) == len(expected)


def count(store: Path) -> int:
    try:
        with sqlite3.connect(f"file:{store}?mode=ro", uri=True) as base:
            return int(base.execute("SELECT count(*) FROM results").fetchone()[0])
    except sqlite3.Error:
        return 0


def test_another_file_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "x.sqlite"
    path.write_text("my notes")
    with pytest.raises(UsageError, match="SSMC-W04"):
        Store(path)
    assert path.read_text() == "my notes"
    with sqlite3.connect(tmp_path / "y.sqlite") as base:
        base.execute("CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL)")
        base.execute("INSERT INTO about VALUES ('schema', 'another')")
    with pytest.raises(UsageError, match="SSMC-W04"):
        Store(tmp_path / "y.sqlite")


def test_the_command_writes_table_csv_and_page(tmp_path: Path) -> None:
    path = written(tmp_path)
    out = tmp_path / "t.csv", tmp_path / "t.html"
    result = run("sweep", path, "--csv", out[0], "--html", out[1])
    assert result.exit_code == 0, result.output
    rows = list(csv.DictReader(io.StringIO(out[0].read_text())))
    assert [(row["adc.columns_per_adc"], row["packing"]) for row in rows][:2] == [("64", "one"), ("64", "multiplexed")]
    assert float(rows[0]["cost.area_um2.nominal"]) > 0
    page = out[1].read_text()
    assert page.count("<svg") >= 1
    assert "multiplexed" in page
    assert (tmp_path / "points.sqlite").exists()
    listed = run("sweep", path, "--list")
    assert len(listed.stdout.splitlines()) == 2 + 6


@pytest.mark.parametrize("name", ["points.sqlite", "points.toml", "model.onnx", "."])
def test_a_table_replaces_nothing_that_the_sweep_needs(tmp_path: Path, name: str) -> None:
    path = written(tmp_path)
    refused = run("sweep", path, "--csv", tmp_path / name)
    assert refused.exit_code == 2
    assert "choose another name" in refused.stderr or "give the name of a file" in refused.stderr
    assert not (tmp_path / "points.sqlite").exists()


def test_without_labels_there_is_no_accuracy(tmp_path: Path) -> None:
    path = written(tmp_path, base='target = "int"', body="[grid]\nsteps = [1, 2]")
    results = done(path, tmp_path / "r.sqlite")
    assert all("accuracy" not in result.figures for result in results)
    assert "<svg" not in as_html(read_sweep(path), results, "x")
    assert as_csv(read_sweep(path), results).startswith("steps,")


def test_dask_gives_the_same_rows_though_a_worker_dies(tmp_path: Path, cluster: str) -> None:
    path = written(tmp_path, '[grid]\n"adc.columns_per_adc" = [64, 32, 16, 8, 4, 2]\npacking = ["one", "multiplexed"]')
    expected = figures(done(path, tmp_path / "a.sqlite"))
    killed: list[int] = []

    def kill_one(result: Result) -> None:
        if not killed:
            from distributed import Client

            with Client(cluster) as client:
                pids = client.run(os.getpid)
            killed.append(next(iter(pids.values())))
            os.kill(killed[0], signal.SIGKILL)

    assert figures(done(path, tmp_path / "b.sqlite", dask=cluster, progress=kill_one)) == expected
    assert killed
    assert count(tmp_path / "b.sqlite") == len(expected)


def test_no_scheduler_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr(cluster, "PATIENCE", "1s")
    with Store(tmp_path / "r.sqlite") as kept, pytest.raises(UsageError, match="SSMC-W05"):
        run_sweep(read_sweep(written(tmp_path)), kept, dask="tcp://127.0.0.1:1")
