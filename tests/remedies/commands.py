"""Remedies for the command line, pipelines, C compilers and packages."""

from __future__ import annotations

import importlib
import shutil
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import click
import numpy as np
import onnx_ir as ir
import pytest

from ssmc.bundle.compile import lower
from ssmc.cli.failing import describe
from ssmc.emit_c.emit import emit
from ssmc.errors import SsmcWarning
from ssmc.importers.onnx_file import import_model
from ssmc.native import build, fast
from ssmc.native.executor import NativeExecutor
from ssmc.passes.fold_quantization import FoldQuantization
from ssmc.pipeline import Effect, run_pipeline
from ssmc.targets.integer.integer_onnx import integer_onnx
from ssmc.targets.integer.target import IntegerTarget
from tests.bundle.test_stages import Early
from tests.checking.test_teacher_forced import Mute
from tests.compiling import program_of
from tests.graphs import Spec
from tests.graphs import model as quantized_model
from tests.importers import test_loops
from tests.importers.refusing import end, start
from tests.remedies.following import (
    bundle,
    calibration,
    data,
    fails,
    float_file,
    good,
    labelled,
    refused,
    remedy,
    works,
)
from tests.targets.c99.test_emit import DECLINED
from tests.targets.integer.test_integer_onnx import mean_of
from tests.test_pipeline import PASSES, Regress, Wrong

SPEC = Spec()


def graph() -> ir.Model:
    return import_model(quantized_model(SPEC))


@remedy("SSMC-U00")
def as_the_help_says(folder: Path) -> None:
    fails("SSMC-U00", "compile", good(folder), "--no-such-option")
    assert "--output" in works("compile", "--help").stdout
    works("compile", good(folder), "--output", folder / "out")


@remedy("SSMC-U01")
def the_path_of_an_onnx_file(folder: Path) -> None:
    fails("SSMC-U01", "compile", folder / "none.onnx", "-o", folder / "out")
    works("compile", good(folder), "-o", folder / "out")


@remedy("SSMC-U03")
def a_pass_that_is_listed(folder: Path) -> None:
    fails("SSMC-U03", "compile", good(folder), "--stop-after", "fuse", "-o", folder / "out")
    assert "fuse-kernel" in works("passes").stdout
    works("compile", good(folder), "--stop-after", "fuse-kernel", "-o", folder / "out")


@remedy("SSMC-U04")
def another_folder_for_the_graphs(folder: Path) -> None:
    (folder / "file").write_text("in the way")
    words = ("compile", good(folder), "-o", folder / "out", "--dump-dir")
    fails("SSMC-U04", *words, folder / "file")
    works(*words, folder / "graphs")


@remedy("SSMC-U05")
def a_place_with_rights(folder: Path) -> None:
    line, _ = describe(PermissionError(13, "Permission denied", str(folder / "out")))
    assert line.startswith("error[SSMC-U05]")
    works("compile", good(folder), "-o", folder / "out")


@remedy("SSMC-U06")
def fewer_sequences(folder: Path) -> None:
    line, _ = describe(MemoryError("Unable to allocate 9 TiB"))
    assert line.startswith("error[SSMC-U06]")
    assert "fewer sequences" in line
    works("quantize", float_file(folder), "--data", calibration(folder), "--samples", 1, "-o", folder / "q.onnx")


@remedy("SSMC-U07")
def a_budget_raised(folder: Path) -> None:
    words = ("compile", good(folder), "-o", folder / "out", "--budget")
    needed = fails("SSMC-U07", *words, "nodes=3").rsplit("--budget ", 1)[1].strip()
    works(*words, needed)


@remedy("SSMC-U10")
def a_target_that_is_listed(folder: Path) -> None:
    fails("SSMC-U10", "compile", good(folder), "-t", "fpga", "-o", folder / "out")
    assert "int" in works("targets").stdout
    works("compile", good(folder), "-t", "int", "-o", folder / "out")


@remedy("SSMC-U11")
def without_the_option(folder: Path) -> None:
    words = ("compile", good(folder), "-t", "int", "-o", folder / "out")
    fails("SSMC-U11", *words, "--set", "adc.bits=6")
    works(*words)


@remedy("SSMC-U12")
def without_noise(folder: Path) -> None:
    words = ("run", bundle(folder), "--data", data(folder))
    fails("SSMC-U12", *words, "--noise")
    works(*words)


@remedy("SSMC-U15")
def budget_and_data_together(folder: Path) -> None:
    labelled = data(folder, label=np.array([0, 1, 2, 0]))
    words = ("compile", good(folder), "-o", folder / "out", "--prune-budget", 100)
    fails("SSMC-U15", *words)
    works(*words, "--prune-data", labelled)


@remedy("SSMC-U16")
def key_and_value(folder: Path) -> None:
    words = ("compile", good(folder), "-t", "c", "-o", folder / "out", "--option")
    fails("SSMC-U16", *words, "prefix")
    works(*words, "prefix=net")


@remedy("SSMC-U30")
def a_possible_number_of_bits(folder: Path) -> None:
    words = ("quantize", float_file(folder), "--data", calibration(folder), "-o", folder / "q.onnx", "--kernel-bits")
    fails("SSMC-U30", *words, 1)
    works(*words, 4)


@remedy("SSMC-U33")
def one_of_the_two(folder: Path) -> None:
    words = ("reduce", float_file(folder), "--data", calibration(folder), "-o", folder / "r.onnx")
    fails("SSMC-U33", *words)
    works(*words, "--states", 4)


@remedy("SSMC-U34")
def labelled_sequences(folder: Path) -> None:
    model, file = labelled(folder)
    words = ("quantize", model, "--bits", 2, "--error", 100, "-o", folder / "q.onnx")
    fails("SSMC-U34", *words, "--data", calibration(folder))
    fails("SSMC-U34", *words, "--data", file)
    works(*words, "--data", file, "--samples", 8)


@remedy("SSMC-P01")
def where_the_graph_has_the_level(folder: Path) -> None:
    with refused("SSMC-P01"):
        run_pipeline(graph(), (PASSES[0], PASSES[-1]), oracle=False)
    run_pipeline(graph(), PASSES, oracle=False)


@remedy("SSMC-P02")
def a_pass_that_reaches_the_level(folder: Path) -> None:
    with refused("SSMC-P02"):
        lower(graph(), Early())
    lower(graph(), IntegerTarget())


@remedy("SSMC-P03")
def witnesses_given(folder: Path) -> None:
    with refused("SSMC-P03"):
        lower(graph(), IntegerTarget(), passes=(*PASSES[:4], Mute()))
    lower(graph(), IntegerTarget(), passes=(*PASSES[:4], FoldQuantization()))
    lower(graph(), IntegerTarget(), passes=(*PASSES[:4], Mute()), oracle=False)


@remedy("SSMC-L01")
def the_operation_removed(folder: Path) -> None:
    with refused("SSMC-L01"):
        run_pipeline(graph(), (*PASSES[:5], Regress(), *PASSES[5:]), oracle=False)
    run_pipeline(graph(), PASSES, oracle=False)


@remedy("SSMC-V05")
def without_the_pass(folder: Path) -> None:
    with refused("SSMC-V05"):
        run_pipeline(graph(), (*PASSES[:5], Wrong(claims=Effect.BOUNDED, times=0)))
    run_pipeline(graph(), PASSES)


@remedy("SSMC-V06")
def the_most_that_a_pass_may_do(folder: Path) -> None:
    class Modest(Wrong):
        effect = Effect.EXACT

    with refused("SSMC-V06"):
        run_pipeline(graph(), (*PASSES[:5], Modest(claims=Effect.LOSSY)), oracle=False)
    run_pipeline(graph(), (*PASSES[:5], Wrong(claims=Effect.LOSSY)), oracle=False)


@remedy("SSMC-C21")
def compiled_for_c_from_the_model(folder: Path) -> None:
    with refused("SSMC-C21"):
        emit(DECLINED["SSMC-C21"](), "net")
    works("compile", good(folder), "-t", "c", "-o", folder / "out")


@remedy("SSMC-C22")
def scales_of_fewer_digits(folder: Path) -> None:
    program = DECLINED["SSMC-C22"]()
    with refused("SSMC-C22"):
        emit(program, "net")
    short = replace(program.ops[1], ratio=(Fraction(4, 3),) * 2)
    emit(replace(program, ops=(program.ops[0], short, program.ops[2])), "net")


@remedy("SSMC-C24")
def reduced_once(folder: Path) -> None:
    program = DECLINED["SSMC-C24"]()
    with refused("SSMC-C24"):
        emit(program, "net")
    once, leave = program.ops[1], replace(program.ops[3], inputs=("v",))
    emit(replace(program, ops=(program.ops[0], once, leave)), "net")


@remedy("SSMC-C28")
def one_quantizer_of_the_input(folder: Path) -> None:
    program = DECLINED["SSMC-C28"]()
    with refused("SSMC-C28"):
        emit(program, "net")
    emit(replace(program, ops=(program.ops[0], replace(program.ops[2], inputs=("u",)))), "net")


@remedy("SSMC-C25")
def a_compiler_set(folder: Path) -> None:
    program, compiler = program_of(SPEC), build.find_compiler()
    if compiler is None:
        pytest.skip("no C compiler to set")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "find_compiler", lambda: ("false",))
        patch.setattr(fast, "find_compiler", lambda: ("false",))
        with pytest.warns(SsmcWarning, match="SSMC-C25"):
            fast.fast_executor(program)
        patch.setattr(build, "find_compiler", lambda: compiler)
        patch.setattr(fast, "find_compiler", lambda: compiler)
        assert isinstance(fast.fast_executor(program), NativeExecutor)


@remedy("SSMC-C27")
def another_cache(folder: Path) -> None:
    program = program_of(Spec(seed=9))
    if build.find_compiler() is None:
        pytest.skip("no C compiler")

    def full(path: Path, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "full"))
        with pytest.MonkeyPatch.context() as disk:
            disk.setattr(Path, "write_bytes", full)
            with pytest.warns(SsmcWarning, match="SSMC-C27"):
                fast.fast_executor(program)
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        assert isinstance(fast.fast_executor(program), NativeExecutor)


@remedy("SSMC-C26")
def a_prefix_of_letters(folder: Path) -> None:
    words = ("compile", good(folder), "-t", "c", "-o", folder / "out", "--prefix")
    fails("SSMC-C26", *words, "My-Net")
    works(*words, "my_net")


@remedy("SSMC-I01")
def deployed_otherwise(folder: Path) -> None:
    program = mean_of(Fraction(1 << 50, 3))
    with refused("SSMC-I01"):
        integer_onnx(program)
    emit(program, "net")


@remedy("SSMC-V08")
def every_step_of_the_loop(folder: Path) -> None:
    test_loops.test_a_loop_that_stops_before_the_end_of_its_sequence()
    g, u = start()
    import_model(end(g, test_loops.FORMS["gathered"](g, u)))


@remedy("SSMC-U02")
def the_file_checked(folder: Path) -> None:
    line, _ = describe(click.FileError("x.toml", "no such file"))
    assert line.startswith("error[SSMC-U02]")
    works("compile", good(folder), "-o", folder / "out")


def package(folder: Path, name: str, group: str, entry: str) -> Path:
    """A package on the path that provides something, as an installed one lies there."""
    info = folder / f"{name}-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(f"[{group}]\n{entry}\n")
    return info


@remedy("SSMC-U40")
def one_of_two_packages_uninstalled(folder: Path) -> None:
    (folder / "provided.py").write_text("")
    with pytest.MonkeyPatch.context() as patch:
        info = package(folder, "twin", "ssmc.hardware", "taox64 = provided:FILE")
        patch.syspath_prepend(folder)
        fails("SSMC-U40", "hardware", "show", "taox64")
        shutil.rmtree(info)
        importlib.invalidate_caches()
        works("hardware", "show", "taox64")


@remedy("SSMC-U41")
def a_broken_package_corrected(folder: Path) -> None:
    (folder / "provided_chip.py").write_text("FILE = 3")
    with pytest.MonkeyPatch.context() as patch:
        package(folder, "chip", "ssmc.hardware", "mychip = provided_chip:FILE")
        patch.syspath_prepend(folder)
        fails("SSMC-U41", "hardware", "show", "mychip")
        from ssmc.hardware.file import PRESETS

        (folder / "provided_chip.py").write_text(f"FILE = {str(PRESETS / 'taox64.toml')!r}")
        sys.modules.pop("provided_chip", None)
        importlib.invalidate_caches()
        works("hardware", "show", "mychip")
