"""A bundle: a model compiled for one target, in memory or as a folder of files.

    program.json   the target's program             weights.npz   its arrays
    model.onnx     the same graph for onnxruntime   report.json   what is known about it
    report.html    the report to look at            report.md     its tables as text
    trace.json     timings and measured deviations

and what the target adds (c: the sources and their README).


``program.json``, ``weights.npz``, ``model.onnx`` and ``report.json`` are the same bytes for the same input.
``program.json`` lists the other files with their SHA-256 (``trace.json`` without) and holds one of itself
(`own_digest`); `load` checks those of what it reads.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ssmc.budgets import DEFAULT
from ssmc.bundle.files import MARKER, listed_files, read_files, write_folder
from ssmc.bundle.registry import target_class
from ssmc.entry_points import Package
from ssmc.errors import SsmcError, UsageError, VerificationError
from ssmc.ir.executor import Executor
from ssmc.ir.operations.dequantize import apply_head
from ssmc.ir.program import Program
from ssmc.ir.rounding import FloatArray
from ssmc.ir.serialize import DAMAGE, Json
from ssmc.npz import npz_bytes, read_npz
from ssmc.report.facts import Report, dump_json, report_from_json
from ssmc.report.html import render_html
from ssmc.report.markdown import render_markdown
from ssmc.targets.base import Compiled, Target
from ssmc.version import __version__

SCHEMA = "ssmc.bundle/2"
TRACE = "trace.json"
REPORT = "report.json"
DIGEST = "sha256"
READ = (".json", ".npz", ".onnx")
RECOMPILE = "compile the model again"


@dataclass(frozen=True)
class Bundle:
    """A compiled model.

    Attributes:
        target: name of the target.
        compiled: the target's compiled model.
        report: what is known about it.
        trace: timings and measured deviations of the compilation, machine-dependent.
        model: the final graph, a serialized ONNX model that onnxruntime runs.
        package: the installed package that provides the target; None for ssmc's own.
    """

    target: str
    compiled: Compiled
    report: Report
    trace: Json
    model: bytes
    package: Package | None = None

    def run(self, x: ArrayLike, lengths: ArrayLike | None = None, **options: Any) -> FloatArray:
        """Outputs for a padded batch x (N, T, features) with true ``lengths`` (N,).

        ``options`` are the target's (aimc: ``noise``, ``seed``). Returns (N, size), or (N, T, size) where the
        output is per step (NaN beyond a sequence's length); softmax and argmax at the model's end are applied.
        """
        batch = np.asarray(x)
        outputs = self.compiled.fast_executor(int(np.prod(batch.shape[:2])), **options).run(batch, lengths)
        return apply_head(self.compiled.program.head, outputs)

    def cost(self, steps: int = 1) -> Json:
        """Costs of one inference of ``steps`` time steps; units are in the keys."""
        return self.compiled.cost(steps)

    def files(self) -> dict[str, bytes]:
        """Every file of the folder."""
        program, arrays = self.compiled.files()
        report = self.report.to_json()
        shown = report_from_json(report)
        others = {
            "weights.npz": npz_bytes(arrays),
            "model.onnx": self.model,
            REPORT: dump_json(report).encode(),
            "report.html": render_html(shown).encode(),
            "report.md": render_markdown(shown).encode(),
            **self.compiled.extra_files(),
        }
        whole = {"schema": SCHEMA, "ssmc": __version__, "target": self.target, "program": program}
        whole["files"] = {TRACE: None, **{name: sha256(data).hexdigest() for name, data in others.items()}}
        if self.package is not None:
            whole["package"] = asdict(self.package)
        written = json.loads(dump_json(whole))
        written[DIGEST] = own_digest(written)
        return {MARKER: dump_json(written).encode(), TRACE: dump_json(self.trace).encode(), **others}

    def save(self, folder: str | Path) -> Path:
        """Write the folder, whole or not at all, once its files have been read back.

        Raises:
            UsageError: SSMC-B01 where it cannot be written or holds something else, SSMC-U10 where `load` would not
                find the target.
            VerificationError: SSMC-V07 where the files cannot be read back.
        """
        files = self.files()
        try:
            read_bundle(files, Path(folder))
        except UsageError as cause:
            if cause.code == "SSMC-U10":
                raise
            remedy = "report this with the model; nothing was written"
            raise VerificationError("SSMC-V07", f"the bundle cannot be read back: {cause.fact}", remedy) from cause
        write_folder(Path(folder), files)
        return Path(folder)

    @staticmethod
    def load(folder: str | Path) -> Bundle:
        """Read a bundle back; see `load`."""
        return load(folder)


def load(folder: str | Path) -> Bundle:
    """Read a bundle back.

    Raises:
        UsageError: SSMC-B02 not a bundle, SSMC-B03 of another version, SSMC-B04 damaged, SSMC-U10 of a target whose
            package is not installed.
    """
    folder = Path(folder)
    if not (folder / MARKER).is_file():
        raise UsageError(
            "SSMC-B02", f"not a bundle (no {MARKER})", "give the folder that 'ssmc compile -o' wrote", str(folder)
        )
    try:
        files = read_files(folder, lambda marker: [name for name in listed_files(marker) if name.endswith(READ)])
    except OSError as cause:
        raise _damaged(folder, cause) from cause
    return read_bundle(files, folder)


def read_bundle(files: Mapping[str, bytes], folder: Path) -> Bundle:
    """The bundle of those files; ``folder`` is where they are from, for messages. Raises as `load`."""
    whole = _json(files, MARKER, folder)
    if whole.get("schema") != SCHEMA:
        fact = f"schema is {whole.get('schema')!r}, this ssmc reads {SCHEMA!r}"
        again = f"compile the model again: ssmc compile MODEL.onnx --target {whole.get('target', 'TARGET')} -o {folder}"
        raise UsageError("SSMC-B03", fact, again, str(folder))
    if whole.get(DIGEST) != own_digest(whole):
        raise UsageError("SSMC-B04", "the file is not the one that was written", RECOMPILE, str(folder / MARKER))
    _check_digests(files, folder)
    try:
        package = Package(**whole["package"]) if "package" in whole else None
        kind = _target_of(whole["target"], package, folder)
        compiled = kind.load(whole["program"], _weights(files["weights.npz"]))
        _require_running(compiled.program)
        report = _report(files, folder)
        return Bundle(whole["target"], compiled, report, _json(files, TRACE, folder), files["model.onnx"], package)
    except SsmcError:
        raise
    except DAMAGE as cause:
        raise _damaged(folder, cause) from cause


def _weights(data: bytes) -> dict[str, NDArray[np.generic]]:
    """The arrays; they are stored as they are, so that an archive that unpacks to much more is no bundle's."""
    return read_npz(data, budgets=replace(DEFAULT, data_bytes=max(DEFAULT.data_bytes, len(data))))


def _require_running(program: Program) -> None:
    """Two steps of zeros: an array of another shape than the operations need shows here, and not later.

    Raises:
        ValueError: the program does not run.
    """
    try:
        with np.errstate(all="ignore"):
            Executor(program).run(np.zeros((1, 2, program.input_size)))
    except Exception as cause:  # whatever numpy raises on arrays that do not fit each other
        raise ValueError(f"the program does not run: {cause}") from cause


def own_digest(whole: Json) -> str:
    """SHA-256 of the content of ``program.json``, without the digest itself and without white space."""
    content = {key: value for key, value in whole.items() if key != DIGEST}
    return sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _report(files: Mapping[str, bytes], folder: Path) -> Report:
    data = _json(files, REPORT, folder)
    try:
        return report_from_json(data)
    except DAMAGE as cause:
        raise _damaged(folder / REPORT, cause) from cause


def _check_digests(files: Mapping[str, bytes], folder: Path) -> None:
    """Refuse a file that is not the one that was written."""
    for name, digest in listed_files(files[MARKER]).items():
        if not name.endswith(READ):
            continue
        if name not in files:
            raise UsageError("SSMC-B04", "the file is missing", RECOMPILE, str(folder / name))
        if digest is not None and sha256(files[name]).hexdigest() != digest:
            raise UsageError("SSMC-B04", "the file is not the one that was written", RECOMPILE, str(folder / name))


def _target_of(name: str, package: Package | None, folder: Path) -> type[Target]:
    try:
        return target_class(name)
    except UsageError as missing:
        if missing.code != "SSMC-U10":
            raise
        whose = f" of {package}" if package else ""
        remedy = "install it" if package else "declare it as an entry point in the group ssmc.targets"
        fact = f"the bundle was written by target '{name}'{whose}, which is not installed"
        raise UsageError("SSMC-U10", fact, remedy, str(folder)) from missing


def _json(files: Mapping[str, bytes], name: str, folder: Path) -> Json:
    try:
        data = json.loads(files[name])
        if not isinstance(data, dict):
            raise ValueError("not an object")
    except (KeyError, ValueError, RecursionError) as cause:
        raise _damaged(folder / name, cause) from cause
    return data


def _damaged(path: Path, cause: Exception) -> UsageError:
    return UsageError("SSMC-B04", f"the bundle is damaged ({type(cause).__name__}: {cause})", RECOMPILE, str(path))
