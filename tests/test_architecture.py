"""The house holds: imports point downwards, budgets are kept, nothing is called utils."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import biodenoising

PACKAGE = Path(biodenoising.__file__).parent
ROOT = PACKAGE.parent
ROOMS = (
    "cli", "app", "plot", "report", "training", "batch", "teachers", "corpus", "inference",
    "models", "audio", "storage", "metrics", "processes", "signals", "errors",
)  # fmt: skip
MODULE_LINES = 400
FUNCTION_LINES = 60
# The one place where any failure of a file becomes a row.
BROAD_EXCEPT_ALLOWED = {PACKAGE / "batch" / "work.py"}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_rooms(tree: ast.AST) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("biodenoising."):
            names.add(node.module.split(".")[1])
        elif isinstance(node, ast.ImportFrom) and node.module == "biodenoising":
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.Import):
            names.update(
                alias.name.split(".")[1]
                for alias in node.names
                if alias.name.startswith("biodenoising.")
            )
    return names & set(ROOMS)


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_downwards(path: Path) -> None:
    if path == PACKAGE / "__init__.py":
        pytest.skip("the public names come from everywhere, lazily")
    assert room(path) in ROOMS, "a new room needs a place in the order"
    above = ROOMS[: ROOMS.index(room(path))]
    assert not imported_rooms(ast.parse(path.read_text())) & set(above)


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_budgets(path: Path) -> None:
    text = path.read_text()
    tree = ast.parse(text)
    assert len(text.splitlines()) <= MODULE_LINES
    assert path.stem not in ("utils", "helpers", "common")
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body
            if ast.get_docstring(node) and len(body) > 1:
                body = body[1:]
            lines = (body[-1].end_lineno or 0) - body[0].lineno + 1
            assert lines <= FUNCTION_LINES, f"{node.name} has {lines} lines"
            if not node.name.startswith("_"):
                named = [*node.args.args, *node.args.kwonlyargs]
                bare = [
                    a.arg for a in named if a.annotation is None and a.arg not in ("self", "cls")
                ]
                assert not bare, f"{node.name} leaves {bare} without annotation"
        if isinstance(node, ast.ImportFrom):
            assert all(alias.name != "*" for alias in node.names)
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, "bare except"
            if isinstance(node.type, ast.Name) and node.type.id in ("Exception", "BaseException"):
                assert path in BROAD_EXCEPT_ALLOWED


def test_outside_uses_public_names_only() -> None:
    """benchmark/ uses what `biodenoising` exports, metrics, synthesis, one teacher, and networks
    as docs/models.md shows them.
    """
    allowed = {
        "biodenoising", "biodenoising.metrics", "biodenoising.corpus.synthesis",
        "biodenoising.teachers.gtcrn", "biodenoising.models.cards",
        "biodenoising.models.networks",
    }  # fmt: skip
    paths = sorted((ROOT / "benchmark").rglob("*.py"))
    assert paths
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("biodenoising"):
                assert node.module in allowed, f"{path.name} imports {node.module}"


def test_public_names_are_frozen() -> None:
    assert biodenoising.__all__ == [
        "Adaptation", "AudioReadError", "AudioValueError", "AudioWriteError", "BatchError",
        "BiodenoisingError", "DenoiseSettings", "Denoiser", "DiskFullError", "FileResult",
        "ModelError", "OptionError", "TreeSummary", "adapt", "denoise", "denoise_file",
        "denoise_tree", "list_models",
    ]  # fmt: skip
    assert biodenoising.__all__ == sorted(biodenoising.__all__)
    for name in biodenoising.__all__:
        thing = getattr(biodenoising, name)
        assert thing.__doc__, f"{name} has no docstring"
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        biodenoising.nothing  # noqa: B018


@pytest.mark.parametrize("code", ["import biodenoising", "import biodenoising.cli.denoise"])
def test_importing_is_free(code: str) -> None:
    """Neither the package nor the command's module loads numpy, torch or onnxruntime."""
    heavy = (
        "[m for m in ('numpy', 'torch', 'onnxruntime', 'soundfile', 'scipy') if m in sys.modules]"
    )
    shown = subprocess.run(
        [sys.executable, "-c", f"import sys; {code}; print({heavy})"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert shown.stdout.strip() == "[]"
