"""Remedies for chips: hardware files, what fits an array, and sweeps."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import numpy as np

from ssmc.bundle.compile import compile
from ssmc.data import Samples
from ssmc.hardware.file import load_hardware
from ssmc.importers.onnx_file import import_model
from ssmc.ir.read_program import read_program
from ssmc.pipeline import run_pipeline
from ssmc.quantize import QuantizeConfig
from ssmc.sweep import run
from ssmc.sweep.spec import read_sweep
from ssmc.sweep.store import Store
from ssmc.targets.aimc.choices.insert_partial_sums import InsertPartialSums
from ssmc.targets.aimc.lowering.partial_sums import lower
from ssmc.targets.aimc.lowering.recorded_inputs import recorded_inputs
from ssmc.targets.aimc.target import AimcTarget
from tests.compiling import program_of
from tests.graphs import Spec
from tests.graphs import model as quantized_model
from tests.remedies.following import bundle, data, fails, good, refused, remedy, works
from tests.sweep.sweeping import written
from tests.targets.aimc.endings import Ending, Zero

PRESETS = Path(__file__).resolve().parents[2] / "ssmc" / "hardware" / "presets"


@remedy("SSMC-A01")
def cells_with_more_levels(folder: Path) -> None:
    chip, program = load_hardware("taox64"), program_of(Spec())
    thin = replace(chip, array=replace(chip.array, columns=2), cell=replace(chip.cell, levels=2))
    with refused("SSMC-A01"):
        lower(program, thin)
    lower(program, replace(thin, cell=replace(chip.cell, levels=255)))


@remedy("SSMC-A02")
def narrower_codes(folder: Path) -> None:
    chip, program = load_hardware("taox64"), program_of(Spec(code_bits=8))
    narrow = replace(chip, dac=replace(chip.dac, bits=4))
    with refused("SSMC-A02"):
        lower(program, narrow)
    lower(program_of(Spec(code_bits=4)), narrow)
    AimcTarget(narrow, place="auto").emit(program)


@remedy("SSMC-A03")
def as_many_arrays_as_needed(folder: Path) -> None:
    words = ("compile", good(folder), "-t", "aimc", "-o", folder / "out", "--set")
    fails("SSMC-A03", *words, "array.count=1", "--packing", "one")
    works(*words, "array.count=1", "--packing", "auto")
    works(*words, "array.count=0", "--packing", "one")


@remedy("SSMC-A04")
def lowered_from_the_model(folder: Path) -> None:
    target = AimcTarget(load_hardware("isaac128"))
    result = run_pipeline(import_model(quantized_model(Spec())), target.pipeline(), oracle=False)
    with refused("SSMC-A04"):
        target.emit(read_program(result.model))
    target.emit_decided(read_program(result.model), result.decided)


@remedy("SSMC-A05")
def the_pass_before_partial_sums(folder: Path) -> None:
    chip, graph = load_hardware("isaac128"), import_model(quantized_model(Spec()))
    with refused("SSMC-A05"):
        compile(graph, Ending(chip, end=(InsertPartialSums(chip), Zero())), oracle=False)
    compile(graph, Ending(chip, end=(Zero(), InsertPartialSums(chip))), oracle=False)


@remedy("SSMC-A06")
def recorded_sequences(folder: Path) -> None:
    program = program_of(Spec())
    with refused("SSMC-A06"):
        recorded_inputs(program, Samples(np.zeros((0, 2)), np.zeros(3, np.int64)))
    recorded_inputs(program, Samples(np.ones((6, 2)), np.array([0, 6])))


def own_chip(folder: Path, old: str = "", new: str = "") -> Path:
    """A hardware file, the preset with a piece of its text changed."""
    text = (PRESETS / "taox64.toml").read_text()
    assert old in text
    (folder / "chip.toml").write_text(text.replace(old, new, 1))
    return folder / "chip.toml"


CHANGES = {
    "SSMC-H02": ('schema = "ssmc.hardware/1"', 'schema = "ssmc.hardware/9"'),
    "SSMC-H03": ("[sample_hold]", "[sample_holt]"),
    "SSMC-H05": ("rows = { value = 64", "rows = { value = 64.5"),
    "SSMC-H06": ("rows = { value = 64", "rows = { value = 0"),
    "SSMC-H08": ("bit_serial = { value = false", "bit_serial = { value = true"),
}


def mended(code: str) -> None:
    """The text that the message names, as it should be."""

    @remedy(code)
    def followed(folder: Path) -> None:
        fails(code, "hardware", "show", own_chip(folder, *CHANGES[code]))
        works("hardware", "show", own_chip(folder))


for each in CHANGES:
    mended(each)


@remedy("SSMC-H01")
def a_preset_that_is_listed(folder: Path) -> None:
    fails("SSMC-H01", "hardware", "show", "taox65")
    assert "taox64" in works("hardware", "list").stdout
    works("hardware", "show", "taox64")


def line_of(key: str) -> str:
    text = (PRESETS / "taox64.toml").read_text()
    return next(line for line in text.splitlines() if line.startswith(f"{key} = "))


@remedy("SSMC-H04")
def the_key_added(folder: Path) -> None:
    fails("SSMC-H04", "hardware", "show", own_chip(folder, line_of("bit_serial"), ""))
    works("hardware", "show", own_chip(folder))


@remedy("SSMC-H07")
def where_a_number_comes_from(folder: Path) -> None:
    old = line_of("clock_mhz")
    fails("SSMC-H07", "hardware", "show", own_chip(folder, old, "clock_mhz = { value = 50 }"))
    works("hardware", "show", own_chip(folder, old, 'clock_mhz = { value = 50, assumed = "a guess" }'))


@remedy("SSMC-H09")
def the_right_unit(folder: Path) -> None:
    words = ("compile", good(folder), "-t", "aimc", "-o", folder / "out", "--set")
    fails("SSMC-H09", *words, "adc.energy_pj=1e9")
    works(*words, "adc.energy_pj=44.1")


@remedy("SSMC-H10")
def overwritten_by_force(folder: Path) -> None:
    words = ("hardware", "new", folder / "chip.toml", "--from", "taox64")
    works(*words)
    fails("SSMC-H10", *words)
    works(*words, "--force")


@remedy("SSMC-H11")
def a_key_and_its_value(folder: Path) -> None:
    words = ("compile", good(folder), "-t", "aimc", "-o", folder / "out", "--set")
    fails("SSMC-H11", *words, "dac.energy_pj")
    works(*words, "dac.energy_pj=3.6")


@remedy("SSMC-U13")
def a_figure_that_is_listed(folder: Path) -> None:
    made = bundle(folder, "aimc")
    said = fails("SSMC-U13", "explain", made, "adc.enrgy_pj")
    assert "adc.energy_pj" in said
    works("explain", made, "adc.energy_pj")


@remedy("SSMC-U14")
def a_cell_model_that_is_listed(folder: Path) -> None:
    words = ("noise", bundle(folder, "aimc"), "--data", data(folder, label=np.zeros(4, int)), "--chips", 1, "--device")
    said = fails("SSMC-U14", *words, "memristor")
    works(*words, said.split("use one of ")[1].split(",")[0])


SWEEPS = {
    "SSMC-W01": "[grid]\nsteps = [1, 2",
    "SSMC-W02": '[grid]\n"adc.bit" = [8]',
    "SSMC-W03": "[grid]\nsteps = []",
}


def swept(code: str) -> None:
    @remedy(code)
    def followed(folder: Path) -> None:
        with refused(code):
            read_sweep(written(folder, SWEEPS[code]))
        assert len(read_sweep(written(folder, '[grid]\nsteps = [1, 2]\n"adc.bits" = [8]')).points) == 2


for each in SWEEPS:
    swept(each)


@remedy("SSMC-W04")
def another_database(folder: Path) -> None:
    (folder / "notes.sqlite").write_text("my notes")
    with refused("SSMC-W04"):
        Store(folder / "notes.sqlite")
    with Store(folder / "results.sqlite"):
        assert (folder / "results.sqlite").exists()


@remedy("SSMC-W06")
def the_point_left_out(folder: Path) -> None:
    both = read_sweep(written(folder, "[grid]\nsteps = [1, 2]"))
    under_way = {Future[run.Result](): 1}
    with refused("SSMC-W06"):
        run._count(under_way, [0, run.ATTEMPTS * run.AHEAD], list(both.points), 1)
    with Store(folder / "results.sqlite") as store:
        run.run_sweep(read_sweep(written(folder, "[grid]\nsteps = [1]")), store)


@remedy("SSMC-U32")
def one_slice_or_more(folder: Path) -> None:
    with refused("SSMC-U32"):
        QuantizeConfig.for_hardware("taox64", slices=0)
    QuantizeConfig.for_hardware("taox64", slices=1)
