"""A configuration says what is wrong with it in one line, with the file and the key."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

import recipes
from biodenoising.corpus.segments import SegmentSettings
from biodenoising.errors import OptionError, TrainingError
from recipes.pseudo_clean.__main__ import main
from recipes.pseudo_clean.settings import DEFAULT_SEGMENTS, read_settings

CONFIGS = sorted(Path(recipes.__path__[0]).glob("*/config.yaml"))
SOURCE = {"kind": "folder", "path": "somewhere"}


def written(folder: Path, record: object) -> Path:
    path = folder / "mine.yaml"
    path.write_text(record if isinstance(record, str) else yaml.safe_dump(record))
    return path


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (
            {"sources": [SOURCE], "teacher": []},
            "unknown key teacher; did you mean teachers?",
        ),
        (
            {"sources": [{**SOURCE, "pth": "x"}]},
            "unknown key sources[0].pth; did you mean",
        ),
        (
            {"sources": [SOURCE], "segments": {"longest": 3}},
            "unknown key segments.longest; did you",
        ),
        (
            {"sources": [SOURCE], "teachers": [{"nam": 1}]},
            "unknown key teachers[0].nam; did you mean",
        ),
        ({"sources": [SOURCE], "teachers": [{}]}, "teachers[0].name is missing"),
        ({"sources": [SOURCE], "jobs": "two"}, 'jobs must be a whole number, not "two"'),
        ({"sources": [SOURCE], "jobs": True}, "jobs must be a whole number, not true"),
        ({"sources": [SOURCE], "jobs": 0}, "jobs must be 1 or more"),
        ({"sources": [SOURCE], "tiers": "open"}, 'tiers must be a list, not "open"'),
        ({"sources": [SOURCE], "tiers": ["free"]}, "tiers holds 'free'; known: open"),
        ({"sources": [SOURCE], "context_s": 2}, "context_s must be at most half of segments.least"),
        ({"sources": [SOURCE], "segments": {"hold_score": 99}}, "segments: hold_score 99 must lie"),
        ({"sources": [SOURCE], "teachers": [{"name": "x", "expansions": [0]}]}, "expansion 0 must"),
        ({"sources": [SOURCE], "validation_tenths": 10}, "must leave a tenth for training"),
        ({"sources": []}, "sources is empty"),
        ({"jobs": 1}, "sources is missing"),
        ({"sources": [{"kind": "disc"}]}, "sources[0].kind must be corpus or folder or"),
        ({"sources": [{"kind": "xeno_canto"}]}, "sources[0]: a source of kind xeno_canto needs qu"),
        ({"sources": [{**SOURCE, "sets": ["benchmark"]}]}, "sources[0]: sets must not name bench"),
        ({"sources": [{**SOURCE, "path": "$NOT_SET_AT_ALL/x"}]}, "sources[0].path is $NOT_SET_AT"),
        ([1, 2], "expected keys and values, found [1, 2]"),
        ("a: [", "not YAML"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path, capsys, record, words) -> None:
    path = written(tmp_path, record)
    with pytest.raises(OptionError) as error:
        read_settings(path)
    assert str(error.value).startswith(f"{path}: ")
    assert words in str(error.value)
    assert "\n" not in str(error.value)
    assert main([str(path)]) == 2
    assert capsys.readouterr().err == f"pseudo_clean: {error.value}\n"


def test_a_file_that_is_not_there(tmp_path) -> None:
    with pytest.raises(TrainingError, match=r"none\.yaml: cannot be read \(No such file"):
        read_settings(tmp_path / "none.yaml")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.parent.name)
def test_the_configurations_of_the_recipes_are_read(path, monkeypatch) -> None:
    monkeypatch.setenv("BIODENOISING_CORPUS", "/corpus")
    settings = read_settings(path)
    assert settings.teachers
    assert all("$" not in source.path for source in settings.sources)


def test_the_command_line_goes_before_the_file(tmp_path) -> None:
    path = written(tmp_path, {"sources": [SOURCE], "jobs": 3, "limit": 5})
    settings = read_settings(path, jobs=2, limit=None, run="elsewhere")
    assert (settings.jobs, settings.limit, settings.run) == (2, 5, "elsewhere")


def test_what_is_left_out_of_segments_is_as_in_a_recipe(tmp_path) -> None:
    path = written(tmp_path, {"sources": [SOURCE], "segments": {"guard_s": 0.2}})
    segments = read_settings(path).segments
    assert segments.guard_s == 0.2
    assert segments.longest_s == DEFAULT_SEGMENTS.longest_s != SegmentSettings().longest_s
