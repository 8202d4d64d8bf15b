"""``ssmc export FILE.py:build``: the user's own imports, exceptions and checkpoints."""

from __future__ import annotations

import sys
import textwrap

import pytest
from click.testing import CliRunner

from ssmc.cli import cli

torch = pytest.importorskip("torch")

from ssmc.errors import UsageError  # noqa: E402 - after the torch skip
from ssmc.export.checkpoint import load_weights  # noqa: E402
from ssmc.export.factory import built_model  # noqa: E402
from ssmc.qat.training import Phase, Trainer  # noqa: E402
from tests.qat.test_training import Tones, model, weights  # noqa: E402


@pytest.fixture
def written(tmp_path):
    """Write a file; its modules are forgotten afterwards."""
    before = set(sys.modules)

    def write(name: str, text: str):
        (tmp_path / name).write_text(textwrap.dedent(text))
        return tmp_path / name

    yield write
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and str(tmp_path) in str(sys.modules[name].__file__):
            del sys.modules[name]


def test_the_folder_of_the_file_is_on_the_path_while_it_loads(written) -> None:
    written("width_of_mine.py", "WIDTH = 3")
    path = written(
        "build_mine.py",
        """
        import torch
        import width_of_mine

        def build():
            import width_of_mine as again
            return torch.nn.Linear(width_of_mine.WIDTH, again.WIDTH)
        """,
    )
    before = list(sys.path)
    with built_model(f"{path}:build") as made:
        assert made.weight.shape == (3, 3)
    assert sys.path == before
    assert "build_mine" not in sys.modules


def test_a_file_named_like_a_module_takes_its_place_only_meanwhile(written) -> None:
    import colorsys

    path = written("colorsys.py", "import torch\n\ndef build():\n    return torch.nn.Linear(2, 2)\n")
    with built_model(f"{path}:build") as made:
        assert isinstance(made, torch.nn.Linear)
    assert sys.modules["colorsys"] is colorsys


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import math\nx = missing\n", "{path}: mine.py:2: NameError: name 'missing' is not defined; correct it"),
        ("import no_such_thing\n", "{path}: mine.py:1: ModuleNotFoundError: No module named 'no_such_thing'"),
        ("def build(:\n", "{path}: mine.py:1: SyntaxError: invalid syntax"),
        ("def build():\n    return 1 / 0\n", "{path}:build: mine.py:2: ZeroDivisionError: division by zero"),
        (
            "import sys\nsys.exit(3)\n",
            "{path}: ends the process: mine.py:2: SystemExit: 3; put what a script does under",
        ),
        (
            "import torch\ndef build():\n    return torch.nn.Linear(3, 2).load_state_dict({})\n",
            "{path}:build: mine.py:3: RuntimeError: Error(s) in loading state_dict for Linear: Missing key(s)",
        ),
    ],
)
def test_an_exception_in_the_users_file_is_theirs_in_one_line(written, text, message) -> None:
    path = written("mine.py", text)
    done = CliRunner().invoke(cli, ["export", f"{path}:build", "--example", "2,5,3"])
    assert done.exit_code == 2
    assert done.stderr.startswith(f"error[SSMC-U23]: {message.format(path=path)}")
    assert done.stderr.count("\n") == 1


def test_an_exception_in_the_users_forward_names_its_line(written, tmp_path) -> None:
    path = written(
        "mine.py",
        """
        import torch
        from tests.export.foreign import LRU

        class Net(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.layer = LRU(3, 2)

            def forward(self, x):
                return self.layer(x) + self.wrong
        """,
    )
    arguments = ["export", f"{path}:Net", "--example", "2,5,3", "-o", str(tmp_path / "m.onnx")]
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 1
    assert "SSMC-X01]: Net: it fails on the example: mine.py:11: AttributeError: 'Net' object has no" in done.stderr


def test_a_checkpoint_of_the_trainer_is_taken_as_it_is(tmp_path) -> None:
    trained = model()
    trainer = Trainer(trained, Tones(), tmp_path / "ck.pt")
    trainer.train(Phase("float", 1, 2e-2, 5e-3))
    trainer.train(Phase("slow", 1, 2e-2, 5e-3, coarse=2))
    other = model()
    load_weights(other, tmp_path / "ck.pt")
    for one, two in zip(weights(trained), weights(other), strict=True):
        assert abs(one - two).max() < 1e-6


@pytest.mark.parametrize("key", [None, "model", "state_dict", "model_state_dict"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "model.", "model._orig_mod."])
def test_a_state_dict_is_found_where_trainers_keep_it(tmp_path, key, prefix) -> None:
    saved, other = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    state = {prefix + name: value for name, value in saved.state_dict().items()}
    torch.save(state if key is None else {key: state, "epoch": 3}, tmp_path / "ck.pt")
    load_weights(other, tmp_path / "ck.pt")
    assert torch.equal(saved.weight, other.weight)


def test_a_checkpoint_of_another_model_is_refused(tmp_path) -> None:
    torch.save(torch.nn.Linear(4, 2).state_dict(), tmp_path / "ck.pt")
    with pytest.raises(UsageError, match=r"SSMC-U22.*does not fit the model"):
        load_weights(torch.nn.Linear(3, 2), tmp_path / "ck.pt")
