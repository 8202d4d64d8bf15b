"""Every remedy of docs/errors.md, followed: from a code to a function that is refused, does as told, and succeeds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import Result

from ssmc.errors import SsmcError
from ssmc.importers.onnx_file import import_model
from ssmc.passes.to_integers import to_integers
from ssmc.pipeline import PipelineResult, run_pipeline
from ssmc.verify import run_onnx
from tests.cli.conftest import ssmc
from tests.graphs import Spec
from tests.graphs import model as quantized_model
from tests.quantize.floats import FEATURES, float_model

Follow = Callable[[Path], None]
FOLLOWED: dict[str, Follow] = {}


def remedy(code: str) -> Callable[[Follow], Follow]:
    """Enter a function into the table."""

    def entered(function: Follow) -> Follow:
        assert code not in FOLLOWED
        FOLLOWED[code] = function
        return function

    return entered


@contextmanager
def refused(code: str) -> Iterator[None]:
    """What the block does ends in this error, which says what to do."""
    with pytest.raises(SsmcError) as caught:
        yield
    assert caught.value.code == code, str(caught.value)
    assert caught.value.remedy


def fails(code: str, *arguments: object) -> str:
    """The message of a command that ends in this error."""
    result = ssmc(*arguments)
    assert result.exit_code != 0
    assert f"error[{code}]" in result.stderr, result.stderr
    return result.stderr


def works(*arguments: object) -> Result:
    """A command that succeeds."""
    result = ssmc(*arguments)
    assert result.exit_code == 0, result.output
    return result


def compiled(proto: onnx.ModelProto) -> PipelineResult:
    """The passes that every target begins with."""
    return run_pipeline(import_model(proto), to_integers(), oracle=False)


def good(folder: Path, **options: object) -> Path:
    """A quantized model of two features that compiles."""
    onnx.save(quantized_model(Spec(**options)), folder / "good.onnx")  # type: ignore[arg-type]
    return folder / "good.onnx"


def float_file(folder: Path) -> Path:
    """A float model of `FEATURES`."""
    onnx.save(float_model(), folder / "float.onnx")
    return folder / "float.onnx"


def data(folder: Path, name: str = "x.npz", features: int = 2, **arrays: np.ndarray) -> Path:
    """A file of four sequences of twelve steps; other arrays in their place, or besides."""
    x = np.random.default_rng(0).standard_normal((4, 12, features)).astype(np.float32)
    np.savez(folder / name, **({"x": x} | arrays))
    return folder / name


def calibration(folder: Path) -> Path:
    """For `float_file`."""
    return data(folder, "calibration.npz", FEATURES)


def labelled(folder: Path) -> tuple[Path, Path]:
    """A small float model, and 60 sequences with the class that it gives each."""
    proto = float_model(channels=2, states=3)
    onnx.save(proto, folder / "small.onnx")
    x = np.random.default_rng(0).standard_normal((60, 12, FEATURES)).astype(np.float32)
    label = run_onnx(proto, {"x": x})[0].argmax(-1)
    return folder / "small.onnx", data(folder, "labelled.npz", FEATURES, x=x, label=label)


def bundle(folder: Path, target: str = "int", *more: object) -> Path:
    """The compiled `good` model."""
    works("compile", good(folder), "-t", target, *more, "-o", folder / target)
    return folder / target
