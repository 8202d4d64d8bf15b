"""Pages in headless Chromium: on narrow screens, on paper, light and dark, for the keyboard and for screen readers.

`probe.js` says what is wrong: a page wider than its window, text of less contrast than WCAG 2.2 asks for (AA: 4.5,
large text 3), a picture without a name, a heading that skips a level, a table that only a mouse can scroll.
"""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from ssmc.data import load_samples
from tests.cli.conftest import ssmc
from tests.compiling import DIGITS

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
WIDTHS = (400, 718, 1200)  # a telephone, A4 at 96 dpi, a screen
LIGHT, DARK = 1, 0  # of Blink's preferredColorScheme
SWEEP = """schema = "ssmc.sweep/1"

[base]
model = "model.onnx"
data = "test.npz"
target = "aimc"

[grid]
"adc.bits" = [6, 8]
"""

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of each kind, of the demo model."""
    folder = tmp_path_factory.mktemp("pages")
    model, data = folder / "model.onnx", folder / "test.npz"
    shutil.copy(DIGITS / "model.onnx", model)
    some = load_samples(DIGITS / "test.npz").spread(20)
    np.savez(data, flat=some.flat, offsets=some.offsets, label=some.label)
    (folder / "sweep.toml").write_text(SWEEP)
    for command in (
        ("compile", model, "--target", "aimc", "--no-oracle", "-o", folder / "aimc"),
        ("compile", model, "--target", "int", "--no-oracle", "-o", folder / "int"),
        ("noise", folder / "aimc", "--data", data, "--chips", 2, "--html", folder / "noise.html"),
        ("sweep", folder / "sweep.toml", "--html", folder / "sweep.html"),
        ("compile", model, "--target", "aimc", "--no-oracle", "--set", "adc.columns_per_adc=16", "-o", folder / "slow"),
        ("diff", folder / "aimc", folder / "slow", "--data", data, "--html", folder / "diff.html"),
    ):
        done = ssmc(*command)
        assert done.exit_code == 0, done.output
    return folder


def probed(page: Path, folder: Path, scheme: int) -> list[str]:
    """What `probe.js` says of a page."""
    script = (Path(__file__).parent / "probe.js").read_text()
    given = f"const WIDTHS = {json.dumps(WIDTHS)}, PAGE = {json.dumps(page.as_uri())};"
    probe = folder / f"probe-{page.stem}-{scheme}.html"
    probe.write_text(f"<!DOCTYPE html><meta charset=utf-8><body><script>{given}\n{script}</script></body>")
    found = chromium(folder, f"--blink-settings=preferredColorScheme={scheme}", "--dump-dom", probe.as_uri())
    body = re.sub(r"<br ?/?>", "\n", found[found.index("<body>") + 6 : found.index("</body>")])
    said = [html.unescape(line) for line in body.strip().splitlines()]
    assert said[0] == "probed", said
    return said[1:]


def chromium(folder: Path, *words: str) -> str:
    assert CHROMIUM is not None
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files"]
    options += [f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=20000"]
    run = subprocess.run([CHROMIUM, *options, *words], capture_output=True, text=True, check=False, timeout=120)
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.mark.parametrize("scheme", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("name", ["aimc/report.html", "int/report.html", "noise.html", "sweep.html", "diff.html"])
def test_a_page_can_be_read_by_everyone(name: str, scheme: int, pages: Path, tmp_path: Path) -> None:
    assert probed(pages / name, tmp_path, scheme) == []


def test_the_probe_finds_what_is_wrong(tmp_path: Path) -> None:
    page = tmp_path / "bad.html"
    page.write_text(
        "<title></title><body style='margin: 0'><h2>a</h2><h4>b</h4><div style='width: 900px'>wide</div><svg></svg>"
        "<img src='data:,'><p style='color: #999; background: #fff'>pale</p>"
        "<div style='overflow-x: auto; width: 100px'><div style='width: 300px'>far</div></div>"
    )
    said = "\n".join(probed(page, tmp_path, LIGHT))
    for fault in ("wider than the window by", "without a name", "without alt", "one h1", "h4 behind h2", "no language"):
        assert fault in said
    assert "contrast 2.85: <p> pale" in said
    assert "scrolls, but not by keyboard: <div> far" in said
    assert "1200: wider" not in said


def test_a_report_prints(pages: Path, tmp_path: Path) -> None:
    chromium(
        tmp_path,
        f"--print-to-pdf={tmp_path / 'a.pdf'}",
        "--no-pdf-header-footer",
        (pages / "aimc/report.html").as_uri(),
    )
    pdf = (tmp_path / "a.pdf").read_bytes()
    boxes = {tuple(round(float(x)) for x in box.split()) for box in re.findall(rb"/MediaBox ?\[([\d. ]+)\]", pdf)}
    assert boxes == {(0, 0, 595, 842)}  # A4 in points, every page
