"""A torch model that reads tokens: from nn.Embedding through the exporter to codes that onnxruntime confirms."""

from __future__ import annotations

import numpy as np
import pytest
from click.testing import CliRunner

torch = pytest.importorskip("torch")

import ssmc  # noqa: E402 - after the torch skip
from ssmc.checking.teacher_forced import ForcedCheck  # noqa: E402
from ssmc.cli import cli  # noqa: E402
from ssmc.export import export_onnx  # noqa: E402
from ssmc.importers import load_model  # noqa: E402
from ssmc.ir.executor import Executor  # noqa: E402
from ssmc.ir.operations import Ids, StateSpace, Table  # noqa: E402
from ssmc.native.build import find_compiler  # noqa: E402
from ssmc.pipeline import run_pipeline  # noqa: E402
from ssmc.qat import Mode, ModelConfig, QuantConfig, Quantizer, calibrate, set_mode  # noqa: E402
from ssmc.qat.linear import QuantLinear  # noqa: E402
from ssmc.qat.model import Block  # noqa: E402
from ssmc.targets.integer.target import IntegerTarget  # noqa: E402
from ssmc.verify import run_onnx  # noqa: E402

VOCABULARY = 50


class TokenClassifier(torch.nn.Module):
    """Ids (N, T) -> logits: quantized rows, one S4D block, the mean, a decoder."""

    def __init__(self) -> None:
        super().__init__()
        config = ModelConfig(1, 4, d_model=6, d_state=8, quant=QuantConfig())
        self.embedding = torch.nn.Embedding(VOCABULARY, 6)
        self.rows = Quantizer(8, config.quant)
        self.block = Block(config)
        self.pool = Quantizer(8, config.quant)
        self.decoder = QuantLinear(6, 4, 8, config.quant)
        self.output = Quantizer(8, config.quant)

    def forward(self, ids):
        table = self.rows(self.embedding.weight)
        z = self.pool(self.block(torch.nn.functional.embedding(ids, table), None).mean(1))
        return self.output(self.decoder(z, self.pool.scale))

    def freeze(self):
        self.block.freeze()
        self.decoder.freeze(self.pool.scale)


def ids(items: int, steps: int, seed: int = 0):
    return torch.randint(0, VOCABULARY, (items, steps), generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    torch.manual_seed(0)
    model = TokenClassifier().eval()
    calibrate(model, [ids(8, 30, 1)])
    assert all(m.mode is Mode.QUANTIZED for m in model.modules() if isinstance(m, Quantizer))
    path = tmp_path_factory.mktemp("tokens") / "m.onnx"
    export_onnx(model, ids(2, 5), path)
    set_mode(model, Mode.QUANTIZED)
    return model, path


def test_the_file_equals_the_forward(exported):
    model, path = exported
    x = ids(3, 40, 7)
    (logits,) = run_onnx(load_model(path), {"x": x.numpy()[..., None]})
    assert np.array_equal(logits, model(x).detach().numpy())


def test_it_compiles_and_onnxruntime_confirms_every_code(exported):
    check, (_, path) = ForcedCheck(), exported
    run_pipeline(load_model(path), IntegerTarget().pipeline(), oracle=False, after=check.see)
    found = check.compare({"x": ids(4, 60, 3).numpy()[..., None]})
    assert found.compared > 20_000
    assert (found.wrong, found.unseen) == (0, [])


@pytest.mark.parametrize("target", ["int", "c", "aimc"])
def test_every_target_runs_it(exported, target):
    bundle = ssmc.compile(exported[1], target, hardware="isaac128" if target == "aimc" else None)
    program = bundle.compiled.program
    assert [type(op) for op in program.ops[:3]] == [Ids, Table, StateSpace]
    x = ids(5, 33, 9).numpy()
    assert np.array_equal(bundle.run(x), Executor(program).run(x))
    if target == "c" and find_compiler():
        assert f"{VOCABULARY - 1}" in bundle.compiled.emitted.header


def test_the_command_line_exports_it(tmp_path):
    (tmp_path / "make_tokens.py").write_text(
        "import torch\n"
        "def build():\n"
        f"    return torch.nn.Sequential(torch.nn.Embedding({VOCABULARY}, 4), torch.nn.Linear(4, 2))\n"
    )
    factory, out = f"{tmp_path / 'make_tokens.py'}:build", str(tmp_path / "m.onnx")
    done = CliRunner().invoke(cli, ["export", factory, "--example", "2,9", "-o", out])
    assert done.exit_code == 0, done.output
    assert load_model(out).graph.inputs[0].dtype.name == "INT64"
