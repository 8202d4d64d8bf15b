"""Remedies for data files, bundles and the gate."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

import ssmc
from ssmc.importers.onnx_file import import_model
from tests.graphs import Spec
from tests.graphs import model as quantized_model
from tests.graphs_tokens import token_model, tokens
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

DATA = {
    "SSMC-D12": ({"audio": np.zeros((4, 3))}, {}),
    "SSMC-D13": ({"x": np.zeros((4, 6, 2)), "lengths": np.full(4, 9)}, {"lengths": np.full(4, 6)}),
    "SSMC-D14": ({"x": np.full((4, 6, 2), "a")}, {}),
    "SSMC-D15": ({"x": np.zeros((4, 6, 2)), "label": np.array([0.5] * 4)}, {"label": np.arange(4)}),
    "SSMC-D16": ({"x": np.zeros((4, 0, 2))}, {}),
}


def layout_followed(code: str) -> None:
    """What the page on data files says instead of the first arrays: the second, and a proper x."""

    @remedy(code)
    def followed(folder: Path) -> None:
        wrong, right = DATA[code]
        np.savez(folder / "wrong.npz", **wrong)
        np.savez(folder / "right.npz", **({"x": np.zeros((4, 6, 2))} | right))
        made = bundle(folder)
        fails(code, "run", made, "--data", folder / "wrong.npz")
        works("run", made, "--data", folder / "right.npz")


for each in DATA:
    layout_followed(each)


@remedy("SSMC-D01")
def reshaped(folder: Path) -> None:
    fails("SSMC-D01", "run", bundle(folder), "--data", data(folder, features=3))
    works("run", bundle(folder), "--data", data(folder, features=2))


@remedy("SSMC-D02")
def real_numbers(folder: Path) -> None:
    loaded = ssmc.compile(import_model(quantized_model(Spec())))
    with refused("SSMC-D02"):
        loaded.run(np.full((2, 5, 2), "1"))
    loaded.run(np.full((2, 5, 2), "1").astype(float))


@remedy("SSMC-D03")
def cleaned(folder: Path) -> None:
    x = np.zeros((4, 6, 2))
    x[0, 0] = np.nan
    fails("SSMC-D03", "run", bundle(folder), "--data", data(folder, x=x))
    works("run", bundle(folder), "--data", data(folder, x=np.nan_to_num(x)))


@remedy("SSMC-D04")
def one_length_a_sample(folder: Path) -> None:
    loaded = ssmc.load(bundle(folder))
    with refused("SSMC-D04"):
        loaded.run(np.zeros((2, 5, 2)), [1])
    loaded.run(np.zeros((2, 5, 2)), [1, 5])


@remedy("SSMC-D05")
def unknown_tokens_mapped(folder: Path) -> None:
    loaded, x = ssmc.compile(import_model(token_model(Spec()))), tokens(2, 6)
    with refused("SSMC-D05"):
        loaded.run(x + 100)
    loaded.run(np.where(x + 100 > x.max(), 0, x))


@remedy("SSMC-D10")
def the_path_of_a_data_file(folder: Path) -> None:
    fails("SSMC-D10", "run", bundle(folder), "--data", folder / "none.npz")
    works("run", bundle(folder), "--data", data(folder))


@remedy("SSMC-D11")
def plain_arrays(folder: Path) -> None:
    (folder / "text.npz").write_text("not an archive")
    fails("SSMC-D11", "run", bundle(folder), "--data", folder / "text.npz")
    works("run", bundle(folder), "--data", data(folder))


@remedy("SSMC-B01")
def another_output_folder(folder: Path) -> None:
    (folder / "mine").mkdir()
    (folder / "mine" / "notes.txt").write_text("keep")
    fails("SSMC-B01", "compile", good(folder), "-o", folder / "mine")
    works("compile", good(folder), "-o", folder / "out")
    assert (folder / "mine" / "notes.txt").read_text() == "keep"


@remedy("SSMC-B02")
def the_folder_that_compile_wrote(folder: Path) -> None:
    fails("SSMC-B02", "run", folder, "--data", data(folder))
    works("run", bundle(folder), "--data", data(folder))


@remedy("SSMC-B03")
def compiled_again(folder: Path) -> None:
    made = bundle(folder)
    program = json.loads((made / "program.json").read_text())
    (made / "program.json").write_text(json.dumps({**program, "schema": "ssmc.bundle/1"}))
    fails("SSMC-B03", "run", made, "--data", data(folder))
    works("run", bundle(folder), "--data", data(folder))


@remedy("SSMC-B04")
def a_damaged_bundle_compiled_again(folder: Path) -> None:
    made = bundle(folder)
    (made / "weights.npz").write_bytes(b"")
    fails("SSMC-B04", "run", made, "--data", data(folder))
    works("run", bundle(folder), "--data", data(folder))


@remedy("SSMC-B05")
def another_place(folder: Path) -> None:
    words = ("run", bundle(folder), "--data", data(folder), "-o")
    fails("SSMC-B05", *words, folder)
    fails("SSMC-B05", *words, data(folder))
    works(*words, folder / "y.npz")


@remedy("SSMC-C01")
def the_change_accepted(folder: Path) -> None:
    words = ("check", bundle(folder), "--data", data(folder), "--baseline", folder / "b.json")
    works(*words, "--update")
    kept = json.loads((folder / "b.json").read_text())
    kept["metrics"]["weights.sha256"]["value"] = "another"
    (folder / "b.json").write_text(json.dumps(kept))
    fails("SSMC-C01", *words)
    works(*words, "--update")
    works(*words)


@remedy("SSMC-C02")
def more_bits(folder: Path) -> None:
    words = ("quantize", float_file(folder), "--data", calibration(folder), "-o", folder / "q.onnx", "--min-sqnr", 30)
    fails("SSMC-C02", *words, "--bits", 5)
    works(*words, "--bits", 12)


@remedy("SSMC-C03")
def a_difference_accepted(folder: Path) -> None:
    old = bundle(folder, "aimc")
    new = folder / "new"
    works("compile", good(folder), "-t", "aimc", "--set", "dac.energy_pj=3.6", "-o", new)
    fails("SSMC-C03", "diff", old, new, "--fail-over", 0)
    works("diff", old, new, "--fail-over", 1000)


@remedy("SSMC-C04")
def more_bits_or_more_error(folder: Path) -> None:
    model, file = labelled(folder)
    words = ("quantize", model, "--data", file, "--samples", 8, "--bits", 2, "-o", folder / "q.onnx", "--error")
    fails("SSMC-C04", *words, 0)
    works(*words, 100)


@remedy("SSMC-C10")
def a_baseline_written(folder: Path) -> None:
    words = ("check", bundle(folder), "--data", data(folder), "--baseline", folder / "b.json")
    fails("SSMC-C10", *words)
    works(*words, "--update")
    works(*words)


@remedy("SSMC-C11")
def two_of_one_kind(folder: Path) -> None:
    made = bundle(folder)
    works("check", made, "--data", data(folder), "--baseline", folder / "b.json", "--update")
    fails("SSMC-C11", "diff", made, folder / "b.json")
    works("diff", folder / "b.json", folder / "b.json")
