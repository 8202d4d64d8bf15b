"""The kinds of input: what they start from, how they are changed, and which commands are then given them."""

from __future__ import annotations

import hashlib
import json
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from xml.etree import ElementTree

import numpy as np

from ssmc.bundle.folder import own_digest
from tests.fuzzing import seeds
from tests.fuzzing.commands import DONE, GATE, Fault, Shell
from tests.fuzzing.judge import judge
from tests.fuzzing.mutate_npz import mutate_npz
from tests.fuzzing.mutate_onnx import mutate_onnx
from tests.fuzzing.mutate_text import VALUES, change_bytes, change_json, change_line, one_of

Rng = np.random.Generator
TARGETS = ("int", "aimc", "c")


#: files of bundles whose fields are looked at, and not their digests alone
FITTED = ("int/weights.npz", "c/weights.npz", "int/report.json", "c/report.json", "aimc/report.json")


def prepare(folder: Path) -> None:
    """Write what inputs of several kinds need: a model, its bundles, data, a baseline."""
    (folder / "model.onnx").write_bytes(seeds.bundle_model())
    (folder / "data.npz").write_bytes(seeds.data_files()[0])
    (folder / "float.npz").write_bytes(seeds.float_data())
    (folder / "chip.toml").write_bytes(seeds.hardware_files()[0])
    (folder / "baseline.json").write_bytes(seeds.baselines()[1])
    shell = Shell(folder)
    for target in TARGETS:
        assert shell.run("compile", folder / "model.onnx", "-t", target, "-o", folder / target, writes=target) == DONE


@dataclass(frozen=True)
class Kind(ABC):
    """One kind of input."""

    name: ClassVar[str]
    share: ClassVar[int]

    @abstractmethod
    def seeds(self) -> tuple[bytes, ...]:
        """Valid inputs."""

    @abstractmethod
    def mutate(self, data: bytes, rng: Rng) -> bytes:
        """An input with one change."""

    @abstractmethod
    def use(self, shell: Shell, data: bytes, shared: Path, rng: Rng) -> None:
        """Give it to ssmc; ``shared`` holds what `prepare` wrote. Raises Fault."""


class Compiled(Kind):
    """Quantized models, compiled; the integer program is judged."""

    name, share = "compile", 40

    def seeds(self) -> tuple[bytes, ...]:
        return seeds.quantized_models()

    def mutate(self, data: bytes, rng: Rng) -> bytes:
        return mutate_onnx(data, rng)

    def use(self, shell: Shell, data: bytes, shared: Path, rng: Rng) -> None:
        (shell.folder / "m.onnx").write_bytes(data)
        target = one_of(rng, ("int", "int", "int", "int", "c", "aimc"))
        words = ("compile", shell.folder / "m.onnx", "-t", target, "-o", shell.folder / "out")
        if shell.run(*words, writes="out") == DONE:
            assert shell.run("report", shell.folder / "out") == DONE
            if target == "int":
                judge(data)


class Quantized(Kind):
    """Float models, quantized and then compiled."""

    name, share = "quantize", 8

    def seeds(self) -> tuple[bytes, ...]:
        return seeds.float_models()

    def mutate(self, data: bytes, rng: Rng) -> bytes:
        return mutate_onnx(data, rng)

    def use(self, shell: Shell, data: bytes, shared: Path, rng: Rng) -> None:
        (shell.folder / "m.onnx").write_bytes(data)
        words = ("quantize", shell.folder / "m.onnx", "--data", shared / "float.npz", "-o", shell.folder / "q.onnx")
        if shell.run(*words, writes="q.onnx") == DONE:
            shell.run("compile", shell.folder / "q.onnx", "-o", shell.folder / "out", writes="out")


class Data(Kind):
    """Data files, run and checked."""

    name, share = "data", 12

    def seeds(self) -> tuple[bytes, ...]:
        return seeds.data_files()

    def mutate(self, data: bytes, rng: Rng) -> bytes:
        return mutate_npz(data, rng)

    def use(self, shell: Shell, data: bytes, shared: Path, rng: Rng) -> None:
        (shell.folder / "d.npz").write_bytes(data)
        given = ("--data", shell.folder / "d.npz")
        status = shell.run("run", shared / one_of(rng, TARGETS), *given, "-o", shell.folder / "y.npz", writes="y.npz")
        update = ("--baseline", shell.folder / "b.json", "--update")
        if shell.run("check", shared / "int", *given, *update, writes="b.json") == DONE and status:
            raise Fault("check accepts data that run does not")


class Hardware(Kind):
    """Hardware files, validated and compiled for."""

    name, share = "hardware", 10

    def seeds(self) -> tuple[bytes, ...]:
        return seeds.hardware_files()

    def mutate(self, data: bytes, rng: Rng) -> bytes:
        return change_line(data, rng)

    def use(self, shell: Shell, data: bytes, shared: Path, rng: Rng) -> None:
        chip = shell.folder / "chip.toml"
        chip.write_bytes(data)
        if shell.run("hardware", "validate", chip) == DONE:
            assert shell.run("hardware", "show", chip) == DONE
            words = ("compile", shared / "model.onnx", "-t", "aimc", "--hardware", chip, "-o", shell.folder / "out")
            if shell.run(*words, "--no-oracle", writes="out") == DONE:
                shell.run("explain", shell.folder / "out", one_of(rng, ("energy_pj", "area_um2", "latency_ns")))


class Bundles(Kind):
    """Bundles with one damaged file; arrays and the report half of the time with digests that fit."""

    name, share = "bundle", 12

    def seeds(self) -> tuple[bytes, ...]:
        return tuple(
            f"{target}/{name}".encode()
            for target in TARGETS
            for name in ("program.json", "weights.npz", "report.json", "trace.json")
        )

    def mutate(self, data: bytes, rng: Rng) -> bytes:
        return data + f" {int(rng.integers(1 << 30))}".encode()

    def use(self, shell: Shell, data: bytes, shared: Path, rng: Rng) -> None:
        place, *changes = data.decode().split()
        target, _, name = place.partition("/")
        folder = shell.folder / "bundle"
        shutil.copytree(shared / target, folder)
        change: Callable[[bytes, Rng], bytes] = mutate_npz if name.endswith("npz") else change_json
        content = (folder / name).read_bytes()
        for number in changes:
            content = change(content, np.random.default_rng(int(number)))
        (folder / name).write_bytes(content)
        if place in FITTED and rng.random() < 0.5:
            _fit_digests(folder)
        given = ("--data", shared / "data.npz")
        shell.run("run", folder, *given, "-o", shell.folder / "y.npz", writes="y.npz")
        shell.run(one_of(rng, ("report", "inspect")), folder)
        shell.run("check", folder, *given, "--baseline", shared / "baseline.json")
        if target == "aimc":
            shell.run("explain", folder)


def _fit_digests(folder: Path) -> None:
    marker = folder / "program.json"
    try:
        whole = json.loads(marker.read_bytes())
        for name in whole["files"]:
            if whole["files"][name] is not None:
                whole["files"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        whole["sha256"] = own_digest(whole)
        marker.write_text(json.dumps(whole))
    except (ValueError, KeyError, TypeError, AttributeError, OSError, RecursionError):
        return


class Baselines(Kind):
    """Baselines of the gate."""

    name, share = "baseline", 8

    def seeds(self) -> tuple[bytes, ...]:
        return seeds.baselines()

    def mutate(self, data: bytes, rng: Rng) -> bytes:
        return change_json(data, rng)

    def use(self, shell: Shell, data: bytes, shared: Path, rng: Rng) -> None:
        (shell.folder / "b.json").write_bytes(data)
        given = ("--data", shared / "data.npz", "--baseline", shell.folder / "b.json")
        before = set(shell.folder.iterdir())
        result, page = shell.folder / "junit.xml", "junit.xml"
        try:
            status = shell.run("check", shared / "int", *given, "--junit", result, writes=page)
        except Fault as fault:
            if fault.kind != "half-written" or set(shell.folder.iterdir()) - before != {result}:
                raise
            status = GATE  # the page says which metrics moved
        if result.exists():
            ElementTree.fromstring(result.read_bytes())
        elif status in (DONE, GATE):
            raise Fault("no JUnit page")


class CommandLines(Kind):
    """Command lines whose words are changed."""

    name, share = "command", 10

    LINES = (
        "compile {model} -o {new} --steps 5",
        "compile {model} -t aimc --hardware taox64 --place auto --packing auto --minimise area --rate 100 -o {new}",
        "compile {model} -t c --prefix mine -o {new}",
        "compile {model} --target-sqnr 30 -o {new}",
        "compile {model} --prune-budget 1 --prune-data {data} -o {new}",
        "compile {model} --option output_lag=0 --budget nodes=900 -o {new}",
        "compile {model} --stop-after fold-constants -o {new}",
        "run {int} --data {data} -o {new}",
        "run {aimc} --data {data} --noise --seed 3 -o {new}",
        "check {int} --data {data} --baseline {baseline}",
        "noise {aimc} --data {data} --chips 1 --times 0,1d --seed 1 --json {new}",
        "inspect {model} --kernels --sqnr 20 --samples 3",
        "inspect {int} --poles --data {data} --kernels --json",
        "explain {aimc} energy_pj --steps 3 --rows 4",
        "report {c} --html {new}",
        "passes -t int --contracts",
        "hardware show taox64",
    )
    WORDS = (
        "nan", "inf", "-inf", "-1", "0", "1e-300", "1e300", "1e400", "9" * 400, "1" + "0" * 30, "0.5", "", " ", "-",
        "--", "é", "\u202e", "\x1b[31m", "a/b", "..", "/", "/dev/null", "/dev/zero", "int", "main", "state", "true",
        "none", "--help", "-o", "--json", "x=y", "nodes=0", "output_lag=1", "rate=nan", "prefix=1",
    )  # fmt: skip

    def seeds(self) -> tuple[bytes, ...]:
        return tuple(line.encode() for line in self.LINES)

    def mutate(self, data: bytes, rng: Rng) -> bytes:
        words = data.decode(errors="replace").split(" ")
        at = int(rng.integers(1, max(len(words), 2)))
        match int(rng.integers(4)):
            case 0 if at < len(words):
                del words[at]
            case 1:
                words.insert(at, one_of(rng, self.WORDS))
            case 2:
                words[at:at] = one_of(rng, self.LINES).split(" ")[-2:]
            case _:
                words[at : at + 1] = [one_of(rng, self.WORDS)]
        return " ".join(words).encode()

    def use(self, shell: Shell, data: bytes, shared: Path, rng: Rng) -> None:
        places = {"model": shared / "model.onnx", "data": shared / "data.npz", "new": shell.folder / "new"}
        places |= {"baseline": shared / "baseline.json", **{target: shared / target for target in TARGETS}}
        words = data.decode().split(" ")
        for name, path in places.items():
            words = [word.replace(f"{{{name}}}", str(path)) for word in words]
        shell.run(*words, writes=None)


KINDS: tuple[Kind, ...] = (
    Compiled(), Quantized(), Data(), Hardware(), Bundles(), Baselines(), CommandLines(),
)  # fmt: skip

__all__ = ["KINDS", "VALUES", "Kind", "change_bytes", "prepare"]
