"""The tables of docs/results.md are those of the committed rows, and every row has its model and all it needs."""

from __future__ import annotations

import json

import pytest

from examples.lib.folders import EXAMPLES
from examples.studies.results import PAGE, page, rows

KEYS = {
    "task", "architecture", "method", "form", "bits", "n_test", "accuracy_compiled", "accuracy_torch", "ace",
    "size_bits", "adc", "seed", "command",
}  # fmt: skip
TASKS = sorted(p.parent.name for p in EXAMPLES.glob("*/results.json") if "rows" in json.loads(p.read_text()))


def test_the_page_says_what_the_rows_say():
    assert page(PAGE.read_text()) == PAGE.read_text()


@pytest.mark.parametrize("task", TASKS)
def test_every_row_is_whole_and_its_model_is_here(task):
    for row in rows(task):
        assert set(row) >= KEYS
        if row["method"] != "float":
            assert (EXAMPLES / task / "models" / f"{row['name']}.onnx").is_file()
            # two of 300: where scales are no powers of two, float32 in torch rounds other ties than the integers
            assert row["accuracy_compiled"] == pytest.approx(row["accuracy_torch"], abs=0.007)
