"""The command `biodenoise-adapt RECORDINGS MODEL.safetensors`."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import click

from biodenoising.cli.bars import Bar, errors_told
from biodenoising.models import DEFAULT_MODEL
from biodenoising.storage import printable

if TYPE_CHECKING:
    from biodenoising.training.adaptation_events import Adaptation, Needs

EXIT_KEPT = 3


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 96})
@click.argument("recordings", type=click.Path(path_type=Path))
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--from",
    "base",
    default=DEFAULT_MODEL,
    show_default=True,
    metavar="MODEL",
    help="The model to begin from: a name (biodenoise-models) or a card's path.",
)
@click.option(
    "--minutes",
    type=click.FloatRange(min=0, min_open=True),
    default=30.0,
    show_default=True,
    metavar="M",
    help="Compute for about M minutes in all.",
)
@click.option(
    "--general",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="DIR",
    help="Rehearse and check with this corpus (manifest.jsonl), so that nothing is forgotten "
    "(repeatable).",
)
@click.option("--dry-run", is_flag=True, help="Say what was found and what it takes, and stop.")
@click.option("--keep", is_flag=True, help="Leave the work folder, MODEL.adapting, behind.")
@click.option("--quiet", is_flag=True, help="Print the outcome and failures only.")
def biodenoise_adapt(
    recordings: Path,
    model: Path,
    base: str,
    minutes: float,
    general: tuple[Path, ...],
    dry_run: bool,
    keep: bool,
    quiet: bool,
) -> None:
    """Adapt a denoiser to RECORDINGS, a folder of yours, and write it as MODEL.safetensors.

    Calls and noise are found in the recordings (annotation files beside them are used), the model
    is trained on them for some minutes and checked on recordings held back. MODEL, a new name, is
    written only where the result is better; `biodenoise --model MODEL.safetensors` then uses it.
    The model it begins from is left as it is. A run that was broken off goes on when the same
    command is given again; until then its work lies in MODEL.adapting.
    Exit code: 0 a better model was written, 2 it cannot start or go on, 3 the old model is kept,
    nothing was written, 130 interrupted.
    """  # fmt: skip
    with errors_told("biodenoise-adapt"):
        from biodenoising.training.adaptation import adapt, plan_adaptation

        if dry_run:
            needs = plan_adaptation(recordings, model, base=base, minutes=minutes, general=general)
            _show_needs(needs)
            return
        # Lightning says which precision it computes in, which is nobody's concern here.
        logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
        with _Display(quiet=quiet) as display:
            ended = adapt(
                recordings, model, base=base, minutes=minutes, general=general, keep=keep,
                observer=display.show, stop=display.asked,
            )  # fmt: skip
    _report(ended, model)
    if ended.model is None:
        sys.exit(EXIT_KEPT)


def _show_needs(needs: Needs) -> None:
    for line in needs.unreadable:
        click.echo(f"left out {line}", err=True)
    rates = ", ".join(f"{rate / 1000:g}" for rate in needs.rates_hz)
    marks = f", {needs.annotated} with annotations" if needs.annotated else ""
    click.echo(
        f"{needs.recordings} recordings, {needs.hours:.2f} hours at {rates} kHz{marks}; "
        f"to adapt: {needs.base.name}"
    )
    click.echo(
        f"it takes about {needs.minutes:g} minutes of this machine, up to {needs.memory_gb:.1f} "
        f"GB of memory and {needs.disk_gb:.1f} GB of disk ({needs.free_gb:.0f} GB are free)"
    )
    if len(needs.rates_hz) > 1:
        click.echo(
            "recordings of several rates are heard at the same speed of samples: for best "
            "results, adapt one model to each rate"
        )


class _Display(Bar):
    """A bar over the stages, a line for all else."""

    def __init__(self, *, quiet: bool) -> None:
        super().__init__(quiet=quiet)
        self._stage, self._begun = "", monotonic()

    def show(self, event: Any) -> None:
        """Show how far a stage is on the bar, anything else as lines of its own."""
        from biodenoising.cli.show import clock
        from biodenoising.training.adaptation_events import Needs

        if isinstance(event, Needs | str):
            if self._quiet:
                return
            if isinstance(event, str):
                self._bar.write(printable(event), file=sys.stderr)
            else:
                _show_needs(event)
            return

        if event.stage != self._stage:
            self._stage, self._begun, self._logged = event.stage, monotonic(), monotonic()
            self._bar.reset()
            if self._bar.disable and not self._quiet:
                click.echo(event.stage, err=True)
        left_s = (monotonic() - self._begun) * (1 / max(event.share, 1e-3) - 1)
        self._show(100 * event.share, f"{event.stage}, {clock(left_s)} left")


def _report(ended: Adaptation, model: Path) -> None:
    from biodenoising.training.adaptation_check import as_text

    verdict = ended.verdict
    click.echo(
        f"learnt from {ended.targets} targets and {ended.noises} noises in {ended.steps} steps"
    )
    if verdict.known is not None and verdict.general is not None:
        click.echo(
            f"{verdict.calls} known calls in your noise: {verdict.before_db:.1f} dB better than "
            f"the recording before, {verdict.after_db:.1f} dB now (medians); new minus old "
            f"{as_text(verdict.known)}"
        )
        if verdict.own is not None:
            click.echo(f"of these your own calls, made clean: {as_text(verdict.own)}")
        if verdict.corpus is not None:
            click.echo(f"of these the corpus's clean calls: {as_text(verdict.corpus)}")
        click.echo(f"general check, new minus old: {as_text(verdict.general)}")
    if verdict.score is not None:
        click.echo(
            f"{verdict.segments} of your own calls, reference-free score, new minus old: "
            f"{as_text(verdict.score)}"
        )
    if ended.model is None:
        click.echo(f"kept the old model, nothing was written: {verdict.reason}")
    else:
        click.echo(
            f"{printable(model)}: better, written with its card; use it by "
            f"biodenoise IN OUT --model {printable(model)}"
        )


def main() -> None:
    """Entry point of the console script."""
    biodenoise_adapt(prog_name="biodenoise-adapt")
