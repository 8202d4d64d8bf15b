"""Every command and every file of the examples that a page, a docstring or a result names is there and parses."""

from __future__ import annotations

import importlib
import json
import re
import shlex
from pathlib import Path

import click
import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md"), *ROOT.glob("examples/**/*.py")]
TEXT = "\n".join(page.read_text().replace("\\\n", " ") for page in PAGES)
RECORDED = "\n".join(
    row["command"]
    for path in ROOT.glob("examples/*/results.json")
    for document in [json.loads(path.read_text())]
    for row in (*document["rows"], document)
    if "command" in row
)
NAMED = re.findall(r"python -m (examples\.[a-z_.]+[a-z][^`#\n\x22]*)", f"{TEXT}\n{RECORDED}")
COMMANDS = sorted({" ".join(line.split()) for line in NAMED})
DATA = ("JapaneseVowels.npz", "asc12_8khz.npz", "cinc2017_af_100hz.npz", "fsdd.npz", "mnist.npz")
LEFT = set(re.findall(r"--start (\S+\.npz)", "\n".join(COMMANDS)))  # by the commands before


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working directory holds the examples and every data file; parsing sets no threads."""
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    for name in {*DATA, *LEFT}:
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_parses(line):
    name, *arguments = shlex.split(line)
    module = importlib.import_module(name)
    assert '__name__ == "__main__"' in Path(module.__file__).read_text()
    if arguments:
        module.main.make_context(name, arguments)


@pytest.mark.usefixtures("folder")
def test_a_command_with_an_unknown_option_does_not_parse():
    module = importlib.import_module("examples.smnist.train")
    with pytest.raises(click.NoSuchOption):
        module.main.make_context("train", ["--data", "mnist.npz", "--epoch-count", "3"])


def test_every_training_and_every_study_is_named():
    named = {line.split()[0] for line in COMMANDS}
    runnable = [path for path in ROOT.glob("examples/*/*.py") if "python -m examples." in path.read_text()]
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts) for path in runnable}
    assert named == {name for name in modules if not name.startswith("examples.lib.")}


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\bexamples/[\w/.*-]*\w", TEXT))))
def test_a_named_file_exists(path):
    assert list(ROOT.glob(path))


def test_every_story_has_a_readme_in_the_index():
    index = (ROOT / "examples" / "README.md").read_text()
    folders = {path.parent.name for path in ROOT.glob("examples/*/*.*")} - {"lib", "quant"}
    assert set(re.findall(r"^\| \[(\w+)\]", index, re.MULTILINE)) == folders
    for name in folders:
        assert f"({name}/README.md)" in index
        assert (ROOT / "examples" / name / "README.md").is_file()
