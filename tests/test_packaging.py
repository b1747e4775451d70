"""The container and the conda recipe: what they name is there, and their commands work."""

from __future__ import annotations

import configparser
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

ROOT = Path(__file__).parents[1]
# What a package is called on conda-forge, where that is another name.
CONDA_NAMES = {"soundfile": "pysoundfile", "soxr": "soxr-python"}


def instructions() -> list[tuple[str, str]]:
    """Return the Dockerfile's instructions, each with what follows its word."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines) if word]


def settings() -> configparser.ConfigParser:
    found = configparser.ConfigParser()
    found.read(ROOT / "setup.cfg")
    return found


def listed(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def recipe_list(start: str) -> list[str]:
    """Return the items of a list of the conda recipe, which follows a key at the end of a line."""
    text = (ROOT / "conda/meta.yaml").read_text()
    found = re.search(rf"^ *{start}:\n((?: +- .+\n)+)", text, re.MULTILINE)
    assert found, start
    return [line.strip().removeprefix("- ") for line in listed(found[1])]


def test_the_recipe_names_every_command_and_requirement() -> None:
    options = settings()["options"]
    commands = listed(settings()["options.entry_points"]["console_scripts"])
    assert sorted(recipe_list("entry_points")) == sorted(commands)
    wanted = [f"python {options['python_requires']}"]
    for requirement in listed(options["install_requires"]):
        name, bound = re.fullmatch(r"([\w.-]+)(>=.+)", requirement).groups()  # type: ignore[union-attr]
        wanted.append(f"{CONDA_NAMES.get(name, name)} {bound}")
    assert sorted(recipe_list("run")) == sorted(wanted)


def test_the_recipe_has_the_version_of_the_package() -> None:
    text = (ROOT / "conda/meta.yaml").read_text()
    assert f'{{% set version = "{settings()["metadata"]["version"]}" %}}' in text


def test_what_the_container_copies_is_there() -> None:
    copied = [rest.split() for word, rest in instructions() if word == "COPY"]
    sources = [name for words in copied if "--from=build" not in words for name in words[:-1]]
    assert "biodenoising" in sources
    assert all((ROOT / name).exists() for name in sources)


def test_the_container_runs_as_nobody_special() -> None:
    last = max(i for i, (word, _) in enumerate(instructions()) if word == "FROM")
    users = [rest for word, rest in instructions()[last:] if word == "USER"]
    assert users == ["1000:1000"]


def test_the_linter_finds_nothing_in_the_container() -> None:
    linter = shutil.which("hadolint")
    if linter is None:
        pytest.skip("no hadolint here")
    found = subprocess.run([linter, ROOT / "Dockerfile"], capture_output=True, text=True)
    assert (found.returncode, found.stdout) == (0, "")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_container_s_commands_outside_of_it(tmp_path: Path) -> None:
    """Its build step with other folders, then its entry point with its environment, off the net."""
    source, place = tmp_path / "source", tmp_path / "opt"
    source.mkdir()
    steps = instructions()
    copied = next(rest.split() for word, rest in steps if word == "COPY")
    for name in copied[:-1]:
        shutil.copy(ROOT / name, source)
    shutil.copytree(
        ROOT / "biodenoising", source / "biodenoising", ignore=shutil.ignore_patterns("__pycache__")
    )
    build = next(rest for word, rest in steps if word == "RUN")
    build = build.replace("/opt/biodenoise", os.fspath(place))
    build = build.replace("python -m venv", f"{sys.executable} -m venv", 1)
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    subprocess.run(
        ["sh", "-ec", build], cwd=source, env={**clean, "EXTRAS": ""}, check=True, timeout=1100
    )
    values = dict(
        pair.split("=", 1) for word, rest in steps if word == "ENV" for pair in rest.split()
    )
    values = {key: value.strip('"') for key, value in values.items()}
    assert values.pop("PATH") == "/opt/biodenoise/bin:$PATH"
    environment = {**clean, **values, "PATH": f"{place / 'bin'}:{os.environ['PATH']}"}
    verify = json.loads([rest for word, rest in steps if word == "RUN"][-1])
    entry = json.loads(next(rest for word, rest in steps if word == "ENTRYPOINT"))
    recording = tmp_path / "in" / "a.wav"
    recording.parent.mkdir()
    noise = np.random.default_rng(0).normal(0, 0.1, 8000)
    soundfile.write(recording, noise, 16_000, subtype="PCM_16")
    unplugged = ["unshare", "--map-root-user", "--net"]
    if subprocess.run([*unplugged, "true"], capture_output=True).returncode:
        unplugged = []
    for words in (verify, [*entry, os.fspath(recording.parent), os.fspath(tmp_path / "out")]):
        subprocess.run([*unplugged, *words], cwd=tmp_path, env=environment, check=True)
    assert soundfile.info(tmp_path / "out" / "a.wav").frames == 8000
    freeze = subprocess.run([place / "bin/pip", "list"], capture_output=True, text=True, check=True)
    assert "torch" not in freeze.stdout
