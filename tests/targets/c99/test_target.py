"""Target ``c``: files of the bundle, self-test, costs, command line."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import ssmc
from ssmc.cli import cli
from ssmc.data import load_samples
from ssmc.emit_c.emit import emit
from ssmc.errors import UsageError
from ssmc.ir.executor import Executor
from ssmc.ir.operations import Linear
from ssmc.native.build import STRICT
from ssmc.targets.c99.target import CCompiled, CTarget
from tests.compiling import program_of
from tests.graphs import Spec
from tests.targets.c99.programs import random_program

DIGITS = Path(__file__).parents[3] / "examples" / "spoken_digits"


@pytest.fixture(scope="module")
def bundle() -> ssmc.Bundle:
    return ssmc.compile(DIGITS / "model.onnx", CTarget("digits"), oracle=False)


def self_test(files: dict[str, bytes], folder: Path, compiler: str) -> subprocess.CompletedProcess[str]:
    for name, data in files.items():
        (folder / name).write_bytes(data)
    sources = [name for name in files if name.endswith(".c")]
    subprocess.run([compiler, *STRICT, "-O1", *sources, "-o", "test"], cwd=folder, check=True)
    return subprocess.run([str(folder / "test")], capture_output=True, text=True, check=False)


def test_the_self_test_passes(bundle: ssmc.Bundle, compiler: str, tmp_path: Path) -> None:
    done = self_test(bundle.compiled.extra_files(), tmp_path, compiler)
    assert done.returncode == 0
    assert done.stdout == "digits: 0 of 40 codes differ\n"


@pytest.mark.parametrize("seed", [31, 60])
def test_the_self_test_passes_for_any_program_and_can_fail(seed: int, tmp_path: Path) -> None:
    files = CCompiled(random_program(seed), "net").extra_files()
    assert self_test(files, tmp_path, "cc").returncode == 0
    text = files["net_selftest.c"].decode()
    head, tail = text.split("outputs[", 1)
    size, rest = tail.split("{\n", 1)
    wrong = re.sub(r"-?\d+", lambda found: str(int(found[0]) ^ 1), rest, count=1)
    files["net_selftest.c"] = f"{head}outputs[{size}{{\n{wrong}".encode()
    assert self_test(files, tmp_path, "cc").returncode == 1


def test_the_readme_names_its_costs(bundle: ssmc.Bundle) -> None:
    text = bundle.compiled.extra_files()["README.md"].decode()
    cost = bundle.cost(10)
    for key in ("flash_constant_bytes", "ram_state_bytes", "macs_per_step"):
        assert str(cost[key]) in text
    for op in bundle.compiled.program.ops:
        if type(op).__name__ in ("Linear", "StateSpace"):
            assert op.name in text


def test_costs_count_what_is_stored(bundle: ssmc.Bundle) -> None:
    cost = bundle.cost(7)
    stored = sum(int(np.count_nonzero(m.codes)) for _, m in bundle.compiled.program.matrices())
    assert stored <= cost["flash_constant_bytes"] < 2 * stored
    at_end = cost["macs_per_sequence"] - 7 * cost["macs_per_step"]
    assert at_end == 640
    assert 38_000 < cost["macs_per_step"] < 42_000, "zero blocks of the kernels cost nothing"


def test_the_bundle_reads_back(bundle: ssmc.Bundle, tmp_path: Path) -> None:
    bundle.save(tmp_path / "out")
    again = ssmc.load(tmp_path / "out")
    assert again.compiled.extra_files() == bundle.compiled.extra_files()
    assert {"digits.c", "digits.h", "digits_selftest.c", "README.md"} <= {f.name for f in (tmp_path / "out").iterdir()}
    assert json.loads((tmp_path / "out" / "program.json").read_text())["program"]["prefix"] == "digits"


def test_its_executor_gives_the_codes_of_the_reference(bundle: ssmc.Bundle) -> None:
    x, lengths = load_samples(DIGITS / "test.npz").batch(np.arange(12))
    program = bundle.compiled.program
    assert np.array_equal(bundle.compiled.executor().run(x, lengths), Executor(program).run(x, lengths))


@pytest.mark.parametrize("prefix", ["", "1st", "Model", "a-b", "ü"])
def test_a_prefix_is_a_c_name(prefix: str) -> None:
    with pytest.raises(UsageError, match="SSMC-C26"):
        CTarget(prefix)


def test_the_command_line_writes_c(tmp_path: Path) -> None:
    arguments = ["compile", str(DIGITS / "model.onnx"), "-t", "c", "--prefix", "net", "--no-oracle"]
    done = CliRunner().invoke(cli, [*arguments, "-o", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "out" / "net.c").is_file()


@pytest.mark.parametrize(("bits", "stored"), [(2, 2), (3, 4), (4, 4), (8, 8)])
def test_trained_weights_stay_as_narrow_in_flash(bits: int, stored: int) -> None:
    """Ternary codes (2 bits) four a byte, 4 bits two a byte; no multiplier is folded into them where that widens."""
    program = program_of(Spec(seed=4, weight_bits=bits, channels=6, features=3, layers=1))
    model = emit(program, "net")
    encoder = next(op for op in program.ops if isinstance(op, Linear))
    ((kind, size),) = re.findall(r"static const (\w+) net_u_weights\[(\d+)\]", model.source)
    rows, inputs = encoder.matrix.codes.shape[1:]
    assert int(size) == rows * -(-inputs * stored // 8)
    assert kind == ("int8_t" if stored == 8 else "uint8_t")
