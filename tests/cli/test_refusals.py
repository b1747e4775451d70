"""What must not start: refused with one line and exit code 2, before anything is written."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest


def refused(tree, run, *arguments: str | Path) -> str:
    """Run the command, see it refused with nothing written, and return its one line."""
    before = tree.everything()
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.splitlines()
    assert result.stdout == ""
    assert tree.everything() == before
    return line


def test_output_is_input(tree, biodenoise) -> None:
    tree.add("x.wav")
    assert "same folder" in refused(tree, biodenoise, tree.input, tree.input)
    assert "same folder" in refused(tree, biodenoise, tree.input, tree.input / "." / "..in" / "..")


def test_output_lies_in_input_and_input_in_output(tree, biodenoise) -> None:
    tree.add("x.wav")
    assert "inside INPUT" in refused(tree, biodenoise, tree.input, tree.input / "out")
    assert "inside OUTPUT" in refused(tree, biodenoise, tree.input, tree.root)


def test_output_is_a_link_to_input(tree, biodenoise) -> None:
    tree.add("a/x.wav")
    tree.output.symlink_to(tree.input)
    refused(tree, biodenoise, tree.input, tree.output)
    refused(tree, biodenoise, tree.input, tree.output / "a")


def test_a_folder_in_output_is_a_link_into_input(tree, biodenoise) -> None:
    tree.add("a/x.wav")
    tree.output.mkdir()
    (tree.output / "a").symlink_to(tree.input / "a")
    refused(tree, biodenoise, tree.input, tree.output)
    refused(tree, biodenoise, tree.input, tree.output, "--overwrite")


def test_a_link_in_input_leads_to_output(tree, biodenoise) -> None:
    tree.add("x.wav")
    tree.output.mkdir()
    (tree.output / "old.wav").write_bytes(tree.add("x.wav").read_bytes())
    (tree.input / "results").symlink_to(tree.output)
    refused(tree, biodenoise, tree.input, tree.output)


def test_output_is_a_link_to_itself(tree, biodenoise) -> None:
    tree.add("x.wav")
    tree.output.symlink_to(tree.output)
    refused(tree, biodenoise, tree.input, tree.output)
    refused(tree, biodenoise, tree.input / "x.wav", tree.output)


def test_residual_in_input_or_the_same_as_output(tree, biodenoise) -> None:
    tree.add("x.wav")
    for place in (tree.input, tree.input / "removed", tree.root, tree.output):
        refused(tree, biodenoise, tree.input, tree.output, "--residual", place)


def test_residuals_that_would_meet_outputs(tree, biodenoise) -> None:
    tree.add("x.wav")
    tree.add("a/x.wav")
    line = refused(tree, biodenoise, tree.input, tree.output, "--residual", tree.output / "a")
    assert "x.wav" in line


def test_residual_beside_outputs_is_allowed(tree, biodenoise) -> None:
    tree.add("x.wav")
    residual = tree.output / "removed"
    assert biodenoise(tree.input, tree.output, "--residual", residual).exit_code == 0
    assert sorted(tree.outputs()) == ["removed/x.wav", "x.wav"]


def test_two_inputs_for_one_output(tree, biodenoise) -> None:
    tree.add("a/x.wav")
    tree.add("a/x.flac")
    line = refused(tree, biodenoise, tree.input, tree.output, "--format", "flac")
    assert "x.wav" in line
    assert "x.flac" in line
    assert biodenoise(tree.input, tree.output).exit_code == 0
    chosen = ["--format", "flac", "--exclude", "*.wav"]
    assert biodenoise(tree.input, tree.root / "other", *chosen).exit_code == 0


def test_one_file_onto_itself(tree, biodenoise) -> None:
    path = tree.add("x.wav")
    refused(tree, biodenoise, path, path)
    refused(tree, biodenoise, path, tree.input)
    refused(tree, biodenoise, path, tree.output, "--residual", tree.input)
    refused(tree, biodenoise, path, tree.output, "--residual", tree.output)
    (tree.root / "link.wav").symlink_to(path)
    refused(tree, biodenoise, path, tree.root / "link.wav")


def test_output_is_a_file(tree, biodenoise) -> None:
    path = tree.add("x.wav")
    tree.output.write_text("a file")
    refused(tree, biodenoise, tree.input, tree.output)
    refused(tree, biodenoise, path, tree.output)
    refused(tree, biodenoise, tree.input, tree.output / "below")
    refused(tree, biodenoise, tree.input, tree.root / "other", "--residual", tree.output)


def test_input_is_missing_or_no_recording(tree, biodenoise) -> None:
    refused(tree, biodenoise, tree.root / "nothing", tree.output)
    refused(tree, biodenoise, tree.root / ("n" * 300), tree.output)
    refused(tree, biodenoise, "/dev/null", tree.output)


# --- checkpoints ---------------------------------------------------------------------------------


@pytest.fixture
def own_model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tiny model, to be damaged."""
    return (
        Path(shutil.copytree(tiny_model.parent, tmp_path_factory.mktemp("own") / "m")) / "tiny.json"
    )


def edit(card: Path, **changes: object) -> None:
    import json

    card.write_text(json.dumps(json.loads(card.read_text()) | changes))


def other_weights(card: Path, change) -> None:
    """Replace the weights and make the card agree, as a careless hand would."""
    from safetensors.numpy import load_file, save_file

    from biodenoising.storage import sha256_of

    path = card.with_suffix(".safetensors")
    weights = load_file(path)
    change(weights)
    save_file(weights, path)
    edit(card, weights_sha256=sha256_of(path), parameters=sum(a.size for a in weights.values()))


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_weights_of_wrong_shapes(tree, biodenoise, own_model, jobs, capfd) -> None:
    for number in range(2):
        tree.add(f"{number}.wav")

    def swap(weights) -> None:
        name = "encoder.0.0.weight"
        weights[name] = weights[name].transpose(2, 1, 0).copy()

    other_weights(own_model, swap)
    line = refused(tree, lambda *a: biodenoise(*a, "--jobs", jobs, model=own_model),
                   tree.input, tree.output)  # fmt: skip
    assert "do not fit" in line
    assert capfd.readouterr().err == ""


def test_weights_with_a_tensor_missing_or_too_many(tree, biodenoise, own_model) -> None:
    tree.add("x.wav")
    other_weights(own_model, lambda weights: weights.pop("encoder.0.0.bias"))
    refused(tree, lambda *a: biodenoise(*a, model=own_model), tree.input, tree.output)


def test_weights_that_are_not_finite(tree, biodenoise, own_model) -> None:
    tree.add("x.wav")
    other_weights(own_model, lambda weights: weights["encoder.0.0.bias"].fill(float("nan")))
    line = refused(tree, lambda *a: biodenoise(*a, model=own_model), tree.input, tree.output)
    assert "not finite" in line


@pytest.mark.parametrize("suffix", [".json", ".safetensors", ".onnx"])
@pytest.mark.parametrize("damage", ["missing", "cut", "flipped", "empty", "a folder"])
def test_checkpoint_files_damaged(tree, biodenoise, own_model, suffix, damage) -> None:
    tree.add("x.wav")
    path = own_model.with_suffix(suffix)
    content = bytearray(path.read_bytes())
    path.unlink()
    if damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        content[len(content) // 2] ^= 0x80
        path.write_bytes(content)
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "a folder":
        path.mkdir()
    line = refused(tree, lambda *a: biodenoise(*a, model=own_model), tree.input, tree.output)
    assert path.name in line


@pytest.mark.parametrize(
    "changes",
    [
        {"chunking": {"samples": 10, "left": 20, "right": 20}},
        {"chunking": {"samples": "many", "left": 0, "right": 0}},
        {"chunking": None},
        {"architecture": "transformer"},
        {"name": "other"},
        {"unknown": 1},
        {"parameters": 7},
    ],
)
def test_cards_that_make_no_sense(tree, biodenoise, own_model, changes) -> None:
    tree.add("x.wav")
    edit(own_model, **changes)
    refused(tree, lambda *a: biodenoise(*a, model=own_model), tree.input, tree.output)


def test_pickled_checkpoints_are_never_loaded(tree, biodenoise) -> None:
    import pickle

    class Trap:
        def __reduce__(self):
            return (Path.touch, (tree.root / "sprung",))

    tree.add("x.wav")
    bomb = tree.root / "old.pth"
    bomb.write_bytes(pickle.dumps(Trap()))
    line = refused(tree, lambda *a: biodenoise(*a, model=bomb), tree.input, tree.output)
    assert "never loaded" in line


def test_a_pickle_named_safetensors_is_not_run(tree, biodenoise, own_model) -> None:
    import pickle

    from biodenoising.storage import sha256_of

    class Trap:
        def __reduce__(self):
            return (Path.touch, (tree.root / "sprung",))

    tree.add("x.wav")
    path = own_model.with_suffix(".safetensors")
    path.write_bytes(pickle.dumps(Trap()))
    edit(own_model, weights_sha256=sha256_of(path))
    line = refused(tree, lambda *a: biodenoise(*a, model=own_model), tree.input, tree.output)
    assert "not a safetensors file" in line
