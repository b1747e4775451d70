"""The command `biodenoise-train CONFIG.yaml`."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from biodenoising.cli.bars import Bar, errors_told, interrupted
from biodenoising.errors import TrainingError
from biodenoising.storage import printable

if TYPE_CHECKING:
    from biodenoising.training.settings import TrainingSettings
    from biodenoising.training.trainer import Summary


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 96})
@click.argument("config", type=click.Path(path_type=Path))
@click.option(
    "--corpus",
    type=click.Path(path_type=Path),
    multiple=True,
    envvar="BIODENOISING_CORPUS",
    metavar="DIR",
    help="A folder with a manifest.jsonl (repeatable; or BIODENOISING_CORPUS).",
)
@click.option(
    "--run",
    "folder",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where the run is kept.  [default: runs/NAME]",
)
@click.option(
    "--minutes",
    type=click.FloatRange(min=0, min_open=True),
    metavar="M",
    help="Train for M minutes of computing, whatever CONFIG says.",
)
@click.option(
    "--resume/--fresh",
    default=None,
    help="Only go on with a run, or start it over.  [default: go on if there is one]",
)
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda", "mps"]),
    help="Compute there, whatever CONFIG says.",
)
@click.option(
    "--export",
    "out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Train nothing; write the run's model (card, weights, graph) to DIR.",
)
@click.option("--quiet", is_flag=True, help="Print failures only.")
def biodenoise_train(
    config: Path,
    corpus: tuple[Path, ...],
    folder: Path | None,
    minutes: float | None,
    resume: bool | None,
    device: str | None,
    out: Path | None,
    quiet: bool,
) -> None:
    """Train a denoiser as CONFIG, a YAML file, says.

    The run's folder gets checkpoint.pt, average.safetensors (the weights that are checked and
    exported), log.csv, checks.csv and curves.png. A run that was interrupted or killed goes on
    from its last checkpoint when the same command is given again.
    Exit code: 0 all well, 2 it cannot start or go on, 130 interrupted.
    """  # fmt: skip
    with errors_told("biodenoise-train"):
        settings = _settings(config, minutes, device)
        folder = folder or Path("runs") / settings.name
        if out is not None:
            _export(settings, corpus, folder, out)
            return
        start = {None: "either", True: "resume", False: "fresh"}[resume]
        summary = _train(settings, corpus, folder, start, quiet=quiet)
    if not quiet:
        _report(summary, folder)
    if summary.ending == "interrupted":
        interrupted("biodenoise-train")


def _settings(config: Path, minutes: float | None, device: str | None) -> TrainingSettings:
    try:
        from biodenoising.training.configuration import read_settings

        settings = read_settings(config)
    except ImportError as error:
        raise _missing(error) from error
    if minutes is not None:
        schedule = dataclasses.replace(settings.schedule, steps=None, minutes=minutes)
        settings = dataclasses.replace(settings, schedule=schedule)
    if device is not None:
        machine = dataclasses.replace(settings.machine, device=device)  # type: ignore[arg-type]
        settings = dataclasses.replace(settings, machine=machine)
    return settings


def _train(
    settings: TrainingSettings, corpora: tuple[Path, ...], folder: Path, start: Any, *, quiet: bool
) -> Summary:
    try:
        import lightning.fabric  # noqa: F401  # asked for here, for one clear message

        from biodenoising.training.runs import run_training
    except ImportError as error:
        raise _missing(error) from error
    with _Display(quiet=quiet) as display:
        return run_training(
            settings, corpora, folder, start=start, observer=display.show, stop=display.asked
        )


def _export(settings: TrainingSettings, corpora: tuple[Path, ...], folder: Path, out: Path) -> None:
    try:
        from biodenoising.training.export import export_run

        card = export_run(settings, corpora, folder, out)
    except ImportError as error:
        raise _missing(error) from error
    click.echo(
        f"{printable(card.weights_path)}: {card.parameters} parameters, "
        f"SHA-256 {card.weights_sha256[:12]}"
    )


def _missing(error: ImportError) -> TrainingError:
    return TrainingError(
        f"training needs the package {error.name}; install biodenoising[train] (pip install "
        "'biodenoising[train]')"
    )


class _Display(Bar):
    """A bar over the run's length, a line for each check."""

    def show(self, event: Any) -> None:
        """Show a step on the bar, anything else as a line of its own."""
        from biodenoising.training.checks import Check
        from biodenoising.training.trainer import Progress

        if isinstance(event, Progress):
            self._step(event)
        elif not self._quiet:
            if isinstance(event, Check):
                event = f"step {event.step}, {_figures(event)}"
            self._bar.write(str(event), file=sys.stderr)

    def _step(self, event: Any) -> None:
        from biodenoising.cli.show import clock

        left_s = event.used_s * (1 / max(event.share, 1e-9) - 1)
        line = f"step {event.step}, loss {event.terms['loss']:.3g}, {clock(left_s)} left"
        self._show(100 * event.share, line)


def _figures(check: Any) -> str:
    return f"{check.name}: {check.median_db:.2f} dB at the median, {check.worse:.0%} made worse"


def _report(summary: Summary, folder: Path) -> None:
    from biodenoising.cli.show import clock

    click.echo(
        f"{summary.ending} at step {summary.step} after {clock(summary.used_s)}; "
        f"{summary.waited:.0%} of this sitting was waiting for mixtures"
    )
    for check in summary.checks:
        click.echo(f"  {_figures(check)} (step {check.step})")
    if summary.skipped:
        click.echo(f"  {summary.skipped} batches passed over, their gradient was not finite")
    click.echo(f"  the run is in {printable(folder)}")


def main() -> None:
    """Entry point of the console script."""
    biodenoise_train(prog_name="biodenoise-train")
