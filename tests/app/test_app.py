"""The local page: its work, its refusals, and itself in a browser."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from biodenoising.app.work import (
    choices_of,
    command_line,
    denoise_recording,
    verdict,
    view,
)  # fmt: skip
from biodenoising.cli.app import biodenoise_app
from biodenoising.errors import OptionError

RATE = 16_000
# The contrast of an element's words with its ground, as WCAG defines it.
CONTRAST = """element => {
  const style = getComputedStyle(element);
  const [words, ground] = [style.color, style.backgroundColor].map((colour) => {
    const linear = colour.match(/[0-9.]+/g).slice(0, 3).map((byte) => {
      const share = byte / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  });
  return (Math.max(words, ground) + 0.05) / (Math.min(words, ground) + 0.05);
}"""
# How far each axis ends from the lower edge of its picture.
OFF = """[...document.querySelectorAll('#view img')].map((picture) => {
  const axis = picture.parentElement.previousElementSibling;
  return Math.abs(axis.getBoundingClientRect().bottom - picture.getBoundingClientRect().bottom);
})"""


def recording(path: Path, seconds: float = 30.0) -> Path:
    time_s = np.arange(int(seconds * RATE)) / RATE
    call = 0.3 * np.sin(2 * np.pi * 3_000 * time_s) * (time_s % 3 > 2.5)
    noise = 0.02 * np.random.default_rng(0).normal(size=len(time_s))
    soundfile.write(path, call + noise, RATE)
    return path


def test_a_recording_is_denoised_in_pieces_and_shown_anywhere(
    tmp_path: Path, tiny_model: Path
) -> None:
    source = recording(tmp_path / "dawn & dusk.wav")
    before = source.read_bytes()
    choices = choices_of(str(tiny_model), 0.8, None, None, None, None, "keep")
    shares: list[float] = []
    done = denoise_recording(source, tmp_path / "made", choices, shares.append)
    assert len(shares) > 5
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1)
    assert source.read_bytes() == before
    for path in done.task.targets:
        assert soundfile.info(path).frames == 30 * RATE
    assert 10 < done.latest_s < 30
    first, last = view(done, 0), view(done, 1e9)
    assert first != last
    assert first.count("<audio") == first.count("<img") == 3
    assert "16 kHz, 30.0 s" in verdict(done)


def test_the_fields_become_settings_and_the_command_that_does_the_same() -> None:
    plain = choices_of("compact", 1, None, None, None, None, "keep")
    assert command_line("a.wav", plain) == "biodenoise a.wav denoised/"
    much = choices_of("demucs", 0.7, 12, None, 0.5, 8, "mute")
    assert much.settings.band == (500, 8000)
    assert command_line("it's dawn.wav", much) == (
        """biodenoise 'it'"'"'s dawn.wav' denoised/ --model demucs --mix 0.7 """
        "--max-attenuation 12 --band 500-8000 --outside mute"
    )
    slow = choices_of("compact", 1, None, 10, None, None, "keep")
    assert command_line("-x.wav", slow) == "biodenoise --time-expansion 10 -- -x.wav denoised/"
    assert choices_of("compact", 1, 0, 0, 0, 0, "keep") == plain
    assert choices_of("compact", 1, None, None, 0, 8, "keep").settings.band == (0, 8000)
    for low, high in ((1, None), (1, 0), (None, 8)):
        with pytest.raises(OptionError, match="both edges"):
            choices_of("compact", 1, None, None, low, high, "keep")
    with pytest.raises(OptionError, match="LOW below HIGH"):
        choices_of("compact", 1, None, None, 8, 1, "keep")


def test_a_port_that_is_taken_is_one_line() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        shown = CliRunner().invoke(biodenoise_app, ["--port", str(port), "--no-browser"])
    assert shown.exit_code == 2
    (line,) = shown.stderr.splitlines()
    assert f"127.0.0.1:{port}" in line
    assert "--port" in line


def test_without_gradio_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
    shown = CliRunner().invoke(biodenoise_app, ["--port", str(free_port()), "--no-browser"])
    assert shown.exit_code == 2
    (line,) = shown.stderr.splitlines()
    assert "biodenoising[app]" in line


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def served() -> Iterator[str]:
    """The app as a process of its own; gives its address."""
    if importlib.util.find_spec("gradio") is None:
        pytest.skip("gradio is not installed")
    port = free_port()
    words = ["--port", str(port), "--no-browser"]
    process = subprocess.Popen(
        [sys.executable, "-c", "from biodenoising.cli.app import main; main()", *words],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith(f"http://127.0.0.1:{port}"), line + process.stdout.read()
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0


@pytest.mark.slow
def test_the_app_in_a_browser(served: str, browser: Any, tmp_path: Path) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(served, wait_until="domcontentloaded")
    page.locator("#source input[type=file]").wait_for(state="attached", timeout=60_000)
    # Nothing dropped, then something that is no audio, then a recording.
    page.locator("#denoise").click()
    page.get_by_text("Drop a recording first.").wait_for(timeout=30_000)
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"no audio at all")
    page.locator("#source input[type=file]").set_input_files(broken)
    page.get_by_text("broken.wav").first.wait_for(timeout=30_000)
    page.locator("#denoise").click()
    page.get_by_text(re.compile("no audio file that can be read")).wait_for(timeout=60_000)
    page.reload(wait_until="domcontentloaded")
    source = recording(tmp_path / "dawn.wav")
    page.locator("#source input[type=file]").wait_for(state="attached", timeout=60_000)
    page.locator("#source input[type=file]").set_input_files(source)
    page.get_by_text("dawn").first.wait_for(timeout=30_000)
    # Fields that were only looked at ask for nothing.
    page.get_by_text("More", exact=True).click()
    page.get_by_label("Time expansion").wait_for()
    page.locator("#denoise").click()
    page.locator("#view img").nth(2).wait_for(timeout=120_000)
    assert page.locator("#view audio").count() == 3
    assert max(page.evaluate(OFF)) < 2
    assert page.locator("#denoise").evaluate(CONTRAST) > 4.5
    assert re.fullmatch(r"\d+(\.\d)?", page.locator("#place .max_value").inner_text())
    assert "biodenoise dawn.wav denoised/" in page.locator("#command").inner_text()
    assert "16 kHz, 30.0 s" in page.locator("#verdict").inner_text()
    with page.expect_download() as got:
        page.get_by_text("Download removed").click()
    assert got.value.suggested_filename == "dawn-removed.wav"
    assert soundfile.info(got.value.path()).frames == 30 * RATE
    shots = os.environ.get("BIODENOISING_SCREENSHOTS")
    if shots:
        page.screenshot(path=Path(shots) / "app-desktop.png", full_page=True)
        page.set_viewport_size({"width": 390, "height": 844})
        time.sleep(1)
        page.screenshot(path=Path(shots) / "app-phone.png", full_page=True)
    assert all(url.startswith((served, "data:", "blob:")) for url in asked), asked
