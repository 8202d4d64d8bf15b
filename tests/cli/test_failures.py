"""Wrong input: one line, a code, a remedy, the right exit status, and nothing half-written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import click
import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result

from ssmc.cli import cli
from ssmc.cli.failing import FailingGroup
from ssmc.errors import VerificationError
from ssmc.hardware.file import PRESETS


def ssmc(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(a) for a in arguments])


def fails(status: int, code: str, *arguments: object) -> str:
    """The one line of a command that must fail."""
    result = ssmc(*arguments)
    assert result.exit_code == status, result.output
    assert result.stderr.startswith(f"error[SSMC-{code}]: "), result.stderr
    assert result.stderr.count("\n") == 1
    assert "; " in result.stderr, "an error ends with a remedy"
    return result.stderr


def test_missing_model(tmp_path: Path) -> None:
    assert "none.onnx" in fails(2, "U01", "compile", tmp_path / "none.onnx", "-o", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_truncated_model(model: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(model.read_bytes()[:-100])
    assert "cut.onnx" in fails(1, "M01", "compile", cut, "-o", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_unsupported_opset(model: Path, tmp_path: Path) -> None:
    proto = onnx.load(model)
    proto.opset_import[0].version = 7
    onnx.save(proto, tmp_path / "old.onnx")
    fails(1, "M02", "compile", tmp_path / "old.onnx", "-o", tmp_path / "out")


def test_nan_weights(model: Path, tmp_path: Path) -> None:
    proto = onnx.load(model)
    tensor = next(t for t in proto.graph.initializer if t.data_type == onnx.TensorProto.FLOAT and t.dims)
    tensor.CopyFrom(onnx.numpy_helper.from_array(np.full(tuple(tensor.dims), np.nan, np.float32), tensor.name))
    onnx.save(proto, tmp_path / "nan.onnx")
    fails(1, "M04", "compile", tmp_path / "nan.onnx", "-o", tmp_path / "out")


def test_unknown_target_option_and_pass(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert "int, c, aimc" in fails(2, "U10", "compile", model, "--target", "tpu", "-o", out)
    fails(2, "U11", "compile", model, "--target", "int", "--hardware", "taox64", "-o", out)
    fails(2, "U03", "compile", model, "--stop-after", "make-coffee", "-o", out)
    fails(2, "U00", "compile", model, "--colour", "red")
    fails(2, "U00", "compile")
    fails(2, "U00", "compost")
    assert not out.exists()


def test_explain_and_hardware_new_refuse_by_name(tmp_path: Path) -> None:
    chip = tmp_path / "chip.toml"
    chip.write_text("mine")
    assert "exists already" in fails(2, "H10", "hardware", "new", chip)
    assert "cannot be written" in fails(2, "H10", "hardware", "new", tmp_path / "no" / "chip.toml")
    assert "not TOML" in fails(2, "H02", "hardware", "validate", chip)


def test_unknown_hardware_and_unknown_key_name_file_and_key(model: Path, tmp_path: Path) -> None:
    from ssmc.hardware.file import PRESETS

    fails(2, "H01", "compile", model, "--target", "aimc", "--hardware", "nowhere", "-o", tmp_path / "out")
    text = (PRESETS / "taox64.toml").read_text()
    (tmp_path / "mine.toml").write_text(text.replace("[adc]", '[adc]\ncolour = { value = 1, source = "me" }'))
    line = fails(
        2, "H03", "compile", model, "--target", "aimc", "--hardware", tmp_path / "mine.toml", "-o", tmp_path / "out"
    )
    assert "mine.toml" in line
    assert "adc.colour" in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("array", "code"),
    [
        (np.zeros((2, 5, 7), np.float32), "D01"),
        (np.zeros((2, 5, 3), np.complex64), "D14"),
        (np.full((2, 5, 3), np.nan, np.float32), "D03"),
        (np.zeros((2, 5), np.float32), "D13"),
    ],
)
def test_wrong_data(bundles: dict[str, Path], tmp_path: Path, array: np.ndarray, code: str) -> None:  # type: ignore[type-arg]
    np.savez(tmp_path / "x.npz", x=array)
    for target in bundles:
        fails(2, code, "run", bundles[target], "--data", tmp_path / "x.npz", "-o", tmp_path / "y.npz")
    assert not (tmp_path / "y.npz").exists()


def test_noise_where_there_are_no_devices(bundles: dict[str, Path], data: Path) -> None:
    fails(2, "U12", "run", bundles["int"], "--data", data, "--noise")
    fails(2, "U12", "run", bundles["aimc"], "--data", data, "--seed", 3)


def test_an_unwritable_output_leaves_nothing_behind(model: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("I am no folder")
    fails(2, "B01", "compile", model, "-o", tmp_path / "file" / "out")
    fails(2, "B01", "compile", model, "-o", tmp_path / "file")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    "command", [("quantize", "none.onnx", "--data", "none.npz", "-o"), ("run", "none", "--data", "none.npz", "-o")]
)
def test_a_folder_under_the_name_of_a_file_is_refused_before_the_work(command: tuple[str, ...], tmp_path: Path) -> None:
    fails(2, "B05", *command, tmp_path)


@pytest.mark.parametrize("command", ["quantize", "reduce"])
def test_no_command_writes_over_what_it_reads(command: str, data: Path, tmp_path: Path) -> None:
    """Not by another spelling of the name either."""
    model, sequences, link = tmp_path / "m.onnx", tmp_path / "x.npz", tmp_path / "link"
    model.write_bytes(b"a float model")
    shutil.copy(data, sequences)
    link.symlink_to(model)
    for output in (model, link, tmp_path / "." / ".." / tmp_path.name / "m.onnx", sequences):
        assert "reads that file" in fails(2, "B05", command, model, "--data", sequences, "-o", output)
    assert model.read_bytes() == b"a float model"
    assert sequences.read_bytes() == data.read_bytes()


def test_a_bundle_or_a_model_that_is_read_is_not_written_over(
    bundles: dict[str, Path], model: Path, data: Path, tmp_path: Path
) -> None:
    made = bundles["int"]
    before = {file.name: file.read_bytes() for file in made.iterdir()}
    fails(2, "B05", "run", made, "--data", data, "-o", made / "weights.npz")
    fails(2, "B05", "check", made, "--data", data, "--baseline", data, "--junit", data)
    fails(2, "B05", "report", made, "--html", made / "program.json")
    fails(2, "B05", "diff", made, made, "--html", made / "weights.npz")
    fails(2, "B05", "diff", made, made, "--data", data, "--html", data)
    fails(2, "B05", "compile", made / "model.onnx", "-o", made)
    assert {file.name: file.read_bytes() for file in made.iterdir()} == before
    shutil.copy(model, tmp_path / "model.onnx")
    fails(2, "B05", "compile", tmp_path / "model.onnx", "--stop-after", "fold-constants", "-o", tmp_path)
    assert (tmp_path / "model.onnx").read_bytes() == model.read_bytes()


def test_a_folder_with_other_files_is_not_replaced(model: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    fails(2, "B01", "compile", model, "-o", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_failed_write_keeps_the_old_bundle(
    bundles: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ssmc.bundle.files import write_folder

    folder = shutil.copytree(bundles["int"], tmp_path / "b")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(Exception, match="No space left"):
        write_folder(folder, {"program.json": b"{}"})
    monkeypatch.undo()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_compiling_into_a_bundle_replaces_it_and_keeps_other_files(model: Path, tmp_path: Path) -> None:
    assert ssmc("compile", model, "--no-oracle", "-o", tmp_path / "b").exit_code == 0
    (tmp_path / "b" / "notes.txt").write_text("mine")
    assert ssmc("compile", model, "--no-oracle", "--steps", 7, "-o", tmp_path / "b").exit_code == 0
    assert (tmp_path / "b" / "notes.txt").read_text() == "mine"
    assert json.loads((tmp_path / "b" / "report.json").read_text())["cost"]["steps"] == 7
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_not_a_bundle(tmp_path: Path) -> None:
    fails(2, "B02", "report", tmp_path)
    fails(2, "B02", "report", tmp_path / "none")


@pytest.mark.parametrize(
    "damage", ["program.json", "weights.npz", "report.json", "trace.json", "model.onnx", "array", "schema"]
)
def test_a_damaged_bundle_is_refused(bundles: dict[str, Path], tmp_path: Path, damage: str) -> None:
    for target, source in bundles.items():
        folder = shutil.copytree(source, tmp_path / target)
        if damage == "model.onnx":
            (folder / damage).unlink()
        elif damage == "array":
            np.savez(folder / "weights.npz", other=np.zeros(3))
        elif damage == "schema":
            program = json.loads((folder / "program.json").read_text())
            (folder / "program.json").write_text(json.dumps({**program, "schema": "ssmc.bundle/99"}))
        else:
            content = (folder / damage).read_bytes()
            (folder / damage).write_bytes(content[: len(content) // 2])
        line = fails(2, "B03" if damage == "schema" else "B04", "report", folder)
        named = {"array": "weights.npz", "schema": f"ssmc compile MODEL.onnx --target {target} -o {folder}"}
        assert named.get(damage, damage) in line


@pytest.mark.parametrize(
    "text", ["", "{}", '{"schema": "ssmc.baseline/1", "metrics": {"a": {"value": 1, "relativ": 2}}}']
)
def test_a_bad_baseline_is_refused(bundles: dict[str, Path], data: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "b.json").write_text(text)
    fails(2, "C10", "check", bundles["int"], "--data", data, "--baseline", tmp_path / "b.json")
    fails(2, "C10", "check", bundles["int"], "--data", data, "--baseline", tmp_path / "none.json")


def test_export_names_what_is_wrong(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    (tmp_path / "make.py").write_text(
        "import torch\ndef build(): return torch.nn.Linear(3, 2)\ndef number(): return 3\n"
    )
    shape = ("--example", "1,4,3")
    fails(2, "U21", "export", "no_such_module_here:build", *shape)
    fails(2, "U21", "export", tmp_path / "none.py:build", *shape)
    fails(2, "U21", "export", "make.py", *shape)
    fails(2, "U21", "export", f"{tmp_path / 'make.py'}:number", *shape)
    fails(2, "U00", "export", f"{tmp_path / 'make.py'}:build", "--example", "4")
    for nonsense in (b"nonsense", b""):
        (tmp_path / "not.pt").write_bytes(nonsense)
        fails(2, "U22", "export", f"{tmp_path / 'make.py'}:build", "--checkpoint", tmp_path / "not.pt", *shape)


def test_our_bug_is_said_to_be_ours() -> None:
    @click.group(cls=FailingGroup)
    def group() -> None: ...

    @group.command()
    def crash() -> None:
        raise RuntimeError("two\nlines")

    @group.command()
    def unproven() -> None:
        raise VerificationError("SSMC-V01", "moved", "report it")

    result = CliRunner().invoke(group, ["crash"])
    assert result.exit_code == 70
    assert result.stderr.startswith("error[SSMC-X70]: RuntimeError: two lines; ")
    assert "Traceback" not in result.stderr
    assert "Traceback" in CliRunner().invoke(group, ["crash"], env={"SSMC_DEBUG": "1"}).stderr
    assert CliRunner().invoke(group, ["unproven"]).exit_code == 3


def test_a_name_that_reorders_text_is_spelled_out(model: Path, tmp_path: Path) -> None:
    shutil.copy(PRESETS / "taox64.toml", tmp_path / "\u202echip.toml")
    for command in (
        ("compile", model, "-o", tmp_path / "\u202eout"),
        ("compile", model, "--stop-after", "fold-constants", "-o", tmp_path / "\u202egraph"),
        ("hardware", "validate", tmp_path / "\u202echip.toml"),
    ):
        result = ssmc(*command)
        assert result.exit_code == 0, result.output
        assert "\u202e" not in result.output
        assert f"\\u202e{Path(command[-1]).name[1:]}" in result.output
