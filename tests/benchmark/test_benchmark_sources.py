"""Where audio comes from: mirror, originals, the paper's set, a user's folders."""

from __future__ import annotations

import hashlib
import json
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import soundfile

from benchmark.clips import Clip, cut, highpassed, load_clip, read_manifest
from benchmark.sets import Settings, own_set
from benchmark.validation import validation_set
from biodenoising.errors import AudioReadError, AudioValueError, BiodenoisingError

RATE = 16_000


def _clip(path: Path, **changes: object) -> Clip:
    row = {
        "path": path.name,
        "kind": "vocal",
        "group": "bird",
        "taxon": "",
        "noise_type": "",
        "medium": "air",
        "sample_rate": RATE,
        "duration_s": 1.0,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "",
    }
    return Clip(**{**row, **changes})  # type: ignore[arg-type]


def test_mirror_is_checked(tmp_path: Path) -> None:
    file = tmp_path / "a.flac"
    soundfile.write(file, 0.1 * np.ones(RATE), RATE)
    assert len(load_clip(_clip(file), mirror=tmp_path, cache=None)) == RATE
    with pytest.raises(AudioReadError, match="SHA-256 differs"):
        load_clip(_clip(file, sha256="0" * 64), mirror=tmp_path, cache=None)
    with pytest.raises(AudioReadError, match="48000 Hz"):
        load_clip(_clip(file, sample_rate=48_000), mirror=tmp_path, cache=None)
    with pytest.raises(AudioReadError, match="missing"):
        load_clip(_clip(tmp_path / "b.flac"), mirror=tmp_path, cache=None)
    with pytest.raises(AudioReadError, match="fetching was not asked"):
        load_clip(_clip(file), mirror=None, cache=None)


def test_original_is_fetched_checked_and_cut(tmp_path: Path) -> None:
    pytest.importorskip("pooch")
    rng = np.random.default_rng(0)
    original = tmp_path / "original.wav"
    audio = rng.uniform(-0.4, 0.4, (2 * RATE, 2)) * [0.2, 1.0]
    soundfile.write(original, audio, RATE, subtype="DOUBLE")
    digest = hashlib.sha256(original.read_bytes()).hexdigest()
    clip = _clip(
        original,
        url=original.as_uri(),
        url_sha256=digest,
        start_s=0.5,
        duration_s=0.25,
        gain_db=6.0,
    )
    made = cut(audio, clip)
    expected = audio[8000:12000, 1] - audio[8000:12000, 1].mean()
    assert made == pytest.approx(expected * 10 ** (6 / 20), abs=1e-12)
    with pytest.raises(AudioReadError, match="ends before"):
        cut(audio, _clip(original, start_s=9.0))
    with pytest.raises(AudioReadError, match="only a local corpus"):
        load_clip(_clip(original, original_format="rda->wav"), mirror=None, cache=tmp_path)
    with pytest.raises(AudioReadError, match="could not be fetched"):
        load_clip(_clip(original, url=original.as_uri()), mirror=None, cache=tmp_path / "c")


def test_original_comes_from_its_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pooch")
    pytest.importorskip("requests")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    original = tmp_path / "original.wav"
    soundfile.write(original, np.sin(np.arange(RATE)), RATE)
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        digest = hashlib.sha256(original.read_bytes()).hexdigest()
        url = f"http://127.0.0.1:{server.server_port}/original.wav"
        clip = _clip(original, url=url, url_sha256=digest, start_s=0.5, duration_s=0.25)
        made = load_clip(clip, mirror=None, cache=tmp_path / "cache")
        wrong = _clip(original, url=url, url_sha256="0" * 64)
        with pytest.raises(AudioReadError, match="could not be fetched"):
            load_clip(wrong, mirror=None, cache=tmp_path / "other")
        server.shutdown()
    assert len(made) == RATE // 4
    assert abs(made.mean()) < 1e-12


def test_manifest_errors_name_the_line(tmp_path: Path) -> None:
    file = tmp_path / "m.jsonl"
    file.write_text('{"path": "x"}\n')
    with pytest.raises(BiodenoisingError, match="line 1"):
        read_manifest(file)


def test_highpass_removes_rumble_in_place() -> None:
    time_s = np.arange(RATE) / RATE
    call, rumble = np.sin(2 * np.pi * 2000 * time_s), np.sin(2 * np.pi * 20 * time_s)
    kept = highpassed(call + rumble, RATE, 300)[2000:-2000]
    assert np.abs(kept - call[2000:-2000]).max() < 1e-2
    assert highpassed(call, RATE, 0) is call


def test_own_folders(own_folders: tuple[Path, Path]) -> None:
    made = own_set(Settings(own_clean=own_folders[0], own_noise=own_folders[1]))
    mixtures = [made.load(plan) for plan in made.plans()]
    assert len(mixtures) == 4
    assert all(len(mixture.noisy) == RATE for mixture in mixtures)


def _validation_folder(root: Path, *, half: bool = False, silent: bool = False) -> Path:
    """Imitate one protocol folder of the published layout."""
    folder = root / "16000"
    rng = np.random.default_rng(1)
    lines = ["# filename,nsamples,sample_rate,snr,clean_filename,noise_filename,type"]
    for index, medium in enumerate(("terrestrial", "underwater")):
        name = f"{index}_{medium}.wav"
        call, noise = 0.2 * rng.standard_normal((2, RATE))
        call *= not silent
        parts = {"clean": call, "noise": noise, "noisy": 0.8 * (call + noise)}
        if half:
            parts["noisy"] = parts["noisy"][: RATE // 2]
        for part, samples in parts.items():
            (folder / part).mkdir(parents=True, exist_ok=True)
            soundfile.write(folder / part / name, samples, RATE, subtype="FLOAT")
        lines.append(f"{name},{RATE},{RATE},{1.234},call{index}.wav,noise{index}.wav,{medium}")
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n")
    (folder / "clean.json").write_text(json.dumps([["/somewhere/else/0_terrestrial.wav", RATE]]))
    return root


def test_validation_layout_is_read(tmp_path: Path) -> None:
    made = validation_set(Settings(validation=_validation_folder(tmp_path)))
    plans = made.plans()
    assert [plan.mixture for plan in plans] == [
        "16000/0_terrestrial.wav",
        "16000/1_underwater.wav",
    ]
    assert plans[1].noise_type == "underwater"
    mixture = made.load(plans[0])
    assert np.array_equal(mixture.noise, mixture.noisy - mixture.clean)
    assert mixture.noisy.any()


@pytest.mark.parametrize(("fault", "words"), [("half", "shape"), ("silent", "silent")])
def test_validation_faults_are_named(tmp_path: Path, fault: str, words: str) -> None:
    made = validation_set(Settings(validation=_validation_folder(tmp_path, **{fault: True})))
    with pytest.raises((AudioReadError, AudioValueError), match=words):
        made.load(made.plans()[0])


def test_validation_zip_must_be_the_published_one(tmp_path: Path) -> None:
    archive = tmp_path / "biodenoising_validation_1.0.zip"
    archive.write_bytes(b"not it")
    with pytest.raises(BiodenoisingError, match="MD5 differs"):
        validation_set(Settings(validation=archive, cache=tmp_path))
