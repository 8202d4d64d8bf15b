"""Data files: both layouts, and one clear error for everything else."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from ssmc.data import Samples, load_samples
from ssmc.errors import UsageError


def write(path: Path, **arrays: object) -> Path:
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


def test_padded_and_ragged_files_hold_the_same_sequences(tmp_path: Path) -> None:
    x = np.arange(2 * 3 * 2, dtype=np.float32).reshape(2, 3, 2)
    padded = load_samples(write(tmp_path / "a.npz", x=x, lengths=np.array([3, 1]), label=np.array([4, 5], np.uint8)))
    flat = np.concatenate([x[0], x[1, :1]])
    ragged = load_samples(write(tmp_path / "b.npz", flat=flat, offsets=np.array([0, 3, 4]), label=np.array([4, 5])))
    for samples in (padded, ragged):
        assert samples.lengths.tolist() == [3, 1]
        assert samples.label is not None
        assert samples.label.tolist() == [4, 5]
        assert (samples.sequence(1) == x[1, :1]).all()
    assert padded.mean_steps == 2


def test_a_batch_is_padded_with_zeros_and_batches_cover_every_sequence_once(tmp_path: Path) -> None:
    flat = np.arange(1, 8, dtype=np.int16)[:, None]
    samples = load_samples(write(tmp_path / "a.npz", flat=flat, offsets=np.array([0, 4, 5, 7])))
    x, lengths = samples.batch(np.array([1, 0]))
    assert x[..., 0].tolist() == [[5, 0, 0, 0], [1, 2, 3, 4]]
    assert lengths.tolist() == [1, 4]
    chunks = list(samples.batches(2))
    assert sorted(np.concatenate(chunks).tolist()) == [0, 1, 2]
    assert chunks[0].tolist() == [1, 2], "similar lengths go together"
    assert samples.head(2).lengths.tolist() == [4, 1]


BAD = {
    "SSMC-D12": {"audio": np.zeros((3, 2))},
    "SSMC-D13 two axes": {"x": np.zeros((3, 2))},
    "SSMC-D13 lengths": {"x": np.zeros((3, 2, 1)), "lengths": np.array([1, 2, 3])},
    "SSMC-D13 fractional lengths": {"x": np.zeros((1, 2, 1)), "lengths": np.array([1.5])},
    "SSMC-D13 offsets fall": {"flat": np.zeros((3, 1)), "offsets": np.array([0, 2, 1, 3])},
    "SSMC-D13 offsets end early": {"flat": np.zeros((3, 1)), "offsets": np.array([0, 2])},
    "SSMC-D14": {"x": np.full((1, 2, 1), "a")},
    "SSMC-D15 count": {"x": np.zeros((2, 2, 1)), "label": np.array([1])},
    "SSMC-D15 real": {"x": np.zeros((2, 2, 1)), "label": np.array([0.5, 1])},
    "SSMC-D15 negative": {"x": np.zeros((2, 2, 1)), "label": np.array([0, -1])},
    "SSMC-D15 huge": {"x": np.zeros((1, 2, 1)), "label": np.array([1 << 63], np.uint64)},
    "SSMC-D16 no sequence": {"x": np.zeros((0, 2, 1))},
    "SSMC-D16 no sequence, ragged": {"flat": np.zeros((0, 1)), "offsets": np.array([0])},
    "SSMC-D16 no steps": {"x": np.zeros((3, 0, 1)), "label": np.zeros(3, int)},
    "SSMC-D16 all empty": {"x": np.zeros((2, 4, 1)), "lengths": np.zeros(2, int)},
    "SSMC-D11 pickle": {"x": np.array([None, {}], object)},
}


@pytest.mark.parametrize("case", BAD)
def test_an_error_names_file_and_fact(tmp_path: Path, case: str) -> None:
    path = write(tmp_path / "bad.npz", **BAD[case])
    with pytest.raises(UsageError, match=case.split()[0]) as caught:
        load_samples(path)
    assert "bad.npz" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_truncated_and_foreign_files_are_refused(tmp_path: Path) -> None:
    whole = write(tmp_path / "a.npz", x=np.zeros((1, 50, 1))).read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    np.save(tmp_path / "one.npy", np.zeros(3))
    for name, code in (("none.npz", "D10"), ("cut.npz", "D11"), ("one.npy", "D11")):
        with pytest.raises(UsageError, match=f"SSMC-{code}"):
            load_samples(tmp_path / name)


def test_spread_takes_sequences_evenly_with_their_labels() -> None:
    samples = Samples(np.arange(10.0)[:, None], np.array([0, 1, 3, 6, 10]), np.array([4, 5, 6, 7]))
    few = samples.spread(2)
    assert few.label is not None
    assert few.label.tolist() == [4, 7]
    assert few.flat.ravel().tolist() == [0, 6, 7, 8, 9]
    assert few.offsets.tolist() == [0, 1, 5]
    assert len(samples.spread(9)) == 4


def test_a_stray_member_is_not_looked_at_and_a_broken_one_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.npz", x=np.zeros((1, 2, 1)))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("readme.txt", b"mine")
        archive.writestr("pickled.npy", b"")
    assert len(load_samples(path)) == 1
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        archive.writestr("x.npy", b"")
    with pytest.raises(UsageError, match=r"SSMC-D11.*'x' is no array"):
        load_samples(tmp_path / "b.npz")
