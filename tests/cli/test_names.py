"""No command shows a name of the model as it is: it could drive the terminal, reorder what is read, or be markup."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest

from ssmc.cli.say import typed
from ssmc.printable import printable
from tests.cli.conftest import ssmc
from tests.graphs import Spec, model

ACTING = "\x1b[31m\u202e\n<svg/onload=x>*/"
SHOWN = ".md", ".html", ".c", ".h"


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _graphs(attribute.g)


def _renamed(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Every name with what acts in front."""
    for graph in _graphs(proto.graph):
        graph.name = ACTING + graph.name
        for named in (*graph.node, *graph.initializer, *graph.input, *graph.output, *graph.value_info):
            named.name = ACTING + named.name
        for node in graph.node:
            for names in (node.input, node.output):
                names[:] = [name and ACTING + name for name in names]
    return proto


@pytest.fixture(scope="module")
def acting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with a sum that is not proven exact (free scales), so that the summary names an operation too."""
    path = tmp_path_factory.mktemp("acting") / "model.onnx"
    onnx.save(_renamed(model(Spec(seed=0, features=2, channels=2, states=1, classes=2, free=True))), path)
    return path


@pytest.mark.parametrize("target", ["int", "c", "aimc"])
def test_no_command_shows_a_name_as_it_is(acting: Path, target: str, tmp_path: Path) -> None:
    data, out = tmp_path / "x.npz", tmp_path / "out"
    np.savez(data, x=np.random.default_rng(0).standard_normal((3, 7, 2)).astype(np.float32), label=[0, 1, 1])
    commands = [
        ("compile", acting, "-t", target, "-o", out),
        ("report", out),
        ("inspect", out, "--kernels", "--poles", "--data", data),
        ("inspect", out, "--poles"),
        ("run", out, "--data", data, "-o", tmp_path / "y.npz"),
        ("check", out, "--data", data, "--baseline", tmp_path / "b.json", "--update"),
        *([("explain", out, "energy_pj"), ("noise", out, "--data", data, "--chips", 1)] if target == "aimc" else []),
    ]
    for command in commands:
        done = ssmc(*command)
        assert done.exit_code == 0, (command[0], done.output)
        assert printable(done.output, keep="\n") == done.output, command[0]
    pages = [path for path in out.iterdir() if path.suffix in SHOWN]
    assert pages
    for path in pages:
        text = path.read_text()
        assert printable(text, keep="\n") == text, path.name
        assert "<svg/onload" not in text or path.suffix != ".html"
        assert "x>*/" not in text or path.suffix not in (".c", ".h")


def test_an_error_shows_no_name_as_it_is(acting: Path, tmp_path: Path) -> None:
    proto = onnx.load(acting)
    node = next(node for node in proto.graph.node if node.op_type == "Tanh" or node.op_type == "Sigmoid")
    node.op_type = "Hardmax"
    onnx.save(proto, tmp_path / "m.onnx")
    done = ssmc("compile", tmp_path / "m.onnx", "-o", tmp_path / "out")
    assert done.exit_code == 1
    assert done.stderr.count("\n") == 1
    assert printable(done.stderr, keep="\n") == done.stderr


def test_the_command_that_follows_can_be_typed() -> None:
    assert typed(Path("out/model.onnx")) == "out/model.onnx"
    assert typed(Path("my model.onnx")) == "'my model.onnx'"
    assert typed(Path("-q.onnx")) == "./-q.onnx"
