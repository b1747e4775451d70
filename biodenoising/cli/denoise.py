"""The command `biodenoise INPUT OUTPUT`."""

from __future__ import annotations

import math
import signal
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from time import monotonic
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from biodenoising.cli.words import Band, Expansion, Place, ReportCommand
from biodenoising.errors import BiodenoisingError
from biodenoising.models import DEFAULT_MODEL, DEVICES, LIVE_MODEL
from biodenoising.signals import INTERRUPTS

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from biodenoising.batch.plan import Plan
    from biodenoising.batch.remote import RemotePlan
    from biodenoising.batch.work import Recipe

EXIT_FAILURES = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
AGAIN_AFTER_S = 10.0


def _version(ctx: click.Context, param: click.Parameter, wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        click.echo(f"biodenoise {version('biodenoising')}")
        ctx.exit()


@click.command(
    cls=ReportCommand,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 96},
)
@click.argument("input", type=Place())
@click.argument("output", type=Place())
@click.option(
    "--model",
    metavar="NAME|PATH",
    help="A model's name (see biodenoise-models list) or the path of a model card; without it "
    f"{DEFAULT_MODEL}, with --live {LIVE_MODEL}.",
)
@click.option(
    "--device",
    type=click.Choice(DEVICES),
    default="auto",
    show_default=True,
    help="auto and onnx are ONNX Runtime on the processor: auto with 8-bit integers where model "
    "and processor have them and the sound is steady, onnx always with 32-bit floats. The others "
    "use torch.",
)
@click.option(
    "--jobs",
    type=click.IntRange(min=0),
    default=0,
    show_default="as many as suit",
    metavar="N",
    help="Files worked on at the same time, each in a process of its own; 1 does without those.",
)
@click.option(
    "--mix",
    type=click.FloatRange(0, 1),
    default=1.0,
    show_default=True,
    metavar="SHARE",
    help="Share of the denoised sound: 1 fully denoised, 0 unchanged.",
)
@click.option(
    "--max-attenuation",
    type=click.FloatRange(min=0),
    metavar="DB",
    help="Turn nothing down by more than this.",
)
@click.option(
    "--residual",
    type=Place(),
    metavar="DIR",
    help="Also write what was removed, as the same tree, to this folder.",
)
@click.option(
    "--time-expansion",
    type=Expansion(),
    metavar="K|auto",
    help="Let the model hear the recording K times slower than at its own rate of 16 kHz; auto"
    " reads each file twice, hears stretches of it as they are, faster and slower, and takes what"
    " scores best: half a dB better on average, nothing changed for most files."
    "  [default: sample by sample, whatever the recording's rate]",
)
@click.option(
    "--band", type=Band(), help="Denoise this band only, in Hz, such as 500-8000 or 20k-90k."
)
@click.option(
    "--outside",
    type=click.Choice(["keep", "mute"]),
    default="keep",
    show_default=True,
    help="What becomes of the sound outside --band or --time-expansion.",
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(["wav", "flac"]),
    help="Write this format.  [default: each file's own]",
)
@click.option("--dither", is_flag=True, help="Add dither when samples are rounded to integers.")
@click.option(
    "--twav",
    type=click.Choice(["expand", "pass", "refuse"]),
    default="pass",
    show_default=True,
    help="Triggered AudioMoth recordings, which leave silence out: put it in again (longer files),"
    " pass its counters on as they are, or refuse them.",
)
@click.option(
    "--salvage",
    is_flag=True,
    help="Keep what can be read of damaged files, with silence in place of what cannot, and say"
    " which seconds that concerns.",
)
@click.option(
    "--max-channels",
    type=click.IntRange(1, 1024),
    default=64,
    show_default=True,
    metavar="N",
    help="Refuse files with more channels.",
)
@click.option(
    "--max-hours",
    type=click.FloatRange(min=0, min_open=True),
    default=1000.0,
    show_default=True,
    metavar="HOURS",
    help="Refuse files that say they are longer.",
)
@click.option(
    "--max-memory",
    type=click.FloatRange(min=0),
    default=8.0,
    show_default=True,
    metavar="GB",
    help="Most memory for one file in a worker process, on Linux; 0 is no limit.",
)
@click.option("--overwrite", is_flag=True, help="Replace files in OUTPUT that are there already.")
@click.option("--include", multiple=True, metavar="GLOB", help="Only files like this (repeatable).")
@click.option("--exclude", multiple=True, metavar="GLOB", help="No files like this (repeatable).")
@click.option(
    "--shard",
    metavar="I/N",
    help="Only the I-th of N parts of INPUT; runs with the other parts may share OUTPUT.",
)
@click.option(
    "--cluster",
    metavar="ADDRESS",
    help="Work on a Dask cluster, tcp://host:8786, or on N workers started here, local:N.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be done; write nothing.")
@click.option(
    "--log-json",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Append one JSON line per file and one for the run to this file.",
)
@click.option(
    "--report",
    metavar="[PATH]",
    help="Write a page to look at and listen to: spectrograms, sounds, figures and flags.  "
    "[default PATH: OUTPUT/biodenoise-report.html]",
)
@click.option(
    "--report-files",
    type=click.IntRange(0, 1000),
    default=20,
    show_default=True,
    metavar="N",
    help="Files that the report shows with pictures and sounds, about 0.4 MB each.",
)
@click.option("--quiet", is_flag=True, help="Print failures only.")
@click.option(
    "--live",
    is_flag=True,
    help="With - as INPUT: let every sample out as soon as can be, from the past alone.",
)
@click.option(
    "--raw",
    metavar="RATE,CHANNELS,FORMAT",
    help="With - as INPUT or OUTPUT: samples without a header, such as 48000,1,s16le"
    " (or s24le, s32le, f32le).",
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_version,
    help="Print the version.",
)
def biodenoise(
    input: Path | str,
    output: Path | str,
    format_: str | None,
    residual: Path | str | None,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    shard: str | None,
    cluster: str | None,
    jobs: int,
    dry_run: bool,
    log_json: Path | None,
    report: str | None,
    report_files: int,
    quiet: bool,
    live: bool,
    raw: str | None,
    **chosen: Any,
) -> None:
    """Remove background noise from animal recordings.

    INPUT is a recording or a folder of them. OUTPUT gets the same tree with the same names,
    formats, sampling rates, channels, lengths and metadata, only quieter. INPUT is never changed.
    Either may be - for a WAV through standard input or output, as sox, ffmpeg and arecord pipe it.

    A run that was interrupted goes on where it stopped when the same command is given again.
    Exit code: 0 all well, 1 some files failed, 2 wrong usage, 130 interrupted, 141 closed pipe.
    """  # fmt: skip
    try:
        from biodenoising.cli import pipe

        if chosen["model"] is None:
            chosen["model"] = LIVE_MODEL if live else DEFAULT_MODEL
        recipe = _recipe(format_, chosen)
        if pipe.is_piped(input, output, live, raw):
            pipe.refuse(
                residual=residual, include=include, exclude=exclude, dry_run=dry_run,
                log_json=log_json, format=format_, shard=shard, cluster=cluster, report=report,
                **{"time-expansion auto": chosen["time_expansion"] == "auto"},
            )  # fmt: skip
            sys.exit(pipe.run(Path(input), Path(output), recipe, live=live, raw=raw, quiet=quiet))
        from biodenoising.cli import show

        plan = _plan(input, output, recipe, residual, include, exclude, shard)
        if log_json is not None:
            _check_log(log_json, input if isinstance(input, Path) else None)
        page = None if report is None else _page(report, plan, input, recipe)
        if plan.is_empty:
            show.nothing_to_do(input, shard)
            return
        if dry_run:
            show.dry_run(plan, recipe)
            return
        _heed_interrupts()
        if page is not None:
            recipe = show.inspected(recipe)
        display = show.Display(plan, recipe, log_json, quiet=quiet)
        with _executor(cluster, recipe, residual) as executor:
            summary = display.run(jobs, executor)
        if page is not None and not show.write_report(
            page, plan, recipe, summary, report_files, quiet=quiet
        ):
            sys.exit(EXIT_FAILURES)
    except BiodenoisingError as error:
        click.echo(f"biodenoise: {error}", err=True)
        sys.exit(EXIT_USAGE)
    except KeyboardInterrupt:
        click.echo("biodenoise: interrupted; the same command goes on from here", err=True)
        sys.exit(EXIT_INTERRUPTED)
    if not summary.ok:
        sys.exit(EXIT_FAILURES)


def _recipe(format_: str | None, chosen: dict[str, Any]) -> Recipe:
    from biodenoising.audio import ReadOptions
    from biodenoising.batch.files import FileOptions, container_of
    from biodenoising.batch.work import Recipe
    from biodenoising.inference.denoiser import DenoiseSettings

    return Recipe(
        model=chosen["model"],
        device=chosen["device"],
        settings=DenoiseSettings(
            chosen["mix"],
            chosen["max_attenuation"],
            chosen["time_expansion"],
            chosen["band"],
            chosen["outside"],
        ),
        options=FileOptions(container_of(format_), chosen["dither"]),
        overwrite=chosen["overwrite"],
        reading=ReadOptions(
            chosen["twav"], chosen["salvage"], chosen["max_channels"], chosen["max_hours"]
        ),
        max_memory_gb=chosen["max_memory"],
    )


def _plan(
    source: Path | str,
    output: Path | str,
    recipe: Recipe,
    residual: Path | str | None,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    shard: str | None,
) -> Plan | RemotePlan:
    from biodenoising.batch.plan import plan_run
    from biodenoising.batch.remote import plan_remote
    from biodenoising.batch.shards import parse_shard
    from biodenoising.models.registry import find_model

    find_model(recipe.model)
    which: dict[str, Any] = {
        "container": recipe.options.container,
        "include": include,
        "exclude": exclude,
        "shard": None if shard is None else parse_shard(shard),
    }
    if isinstance(source, str) or isinstance(output, str) or isinstance(residual, str):
        return plan_remote(source, output, residual=residual, **which)
    return plan_run(source, output, residual=residual, **which)


def _executor(
    cluster: str | None, recipe: Recipe, residual: Path | str | None
) -> AbstractContextManager[Executor | None]:
    if cluster is None:
        return nullcontext()
    from biodenoising.batch.cluster import connect

    return connect(cluster, recipe, residual=residual is not None)


def _check_log(path: Path, source: Path | None) -> None:
    from biodenoising.errors import BatchError

    if source is not None and source.resolve() in (path.resolve(), *path.resolve().parents):
        raise BatchError("--log-json lies inside INPUT, which is never written to")
    try:
        fits = path.parent.is_dir() and not path.is_dir()
    except OSError:  # a name that is too long
        fits = False
    if not fits:
        raise BatchError("--log-json must be a file in a folder that exists")


def _page(given: str, plan: Plan | RemotePlan, source: Path | str, recipe: Recipe) -> Path:
    """Return where the report goes. Raises BatchError where it must not be written."""
    from biodenoising.batch.plan import Plan
    from biodenoising.errors import BatchError
    from biodenoising.report.page import REPORT_NAME, check_report

    if not isinstance(plan, Plan) or isinstance(source, str):
        raise BatchError("--report looks at files on this machine; leave it away with addresses")
    page = Path(given) if given else plan.roots[0] / REPORT_NAME
    check_report(page, source, overwrite=recipe.overwrite)
    return page


def _heed_interrupts() -> None:
    """Have Ctrl-C and SIGTERM end the run, each once in a while."""
    heeded_s = [-math.inf]

    def interrupt(number: int, frame: FrameType | None) -> None:
        # Ending takes a moment; a second signal would break off a lock that is just let go. Long
        # after the first, that one got lost in code that lets no exception out.
        if monotonic() - heeded_s[-1] > AGAIN_AFTER_S:
            heeded_s.append(monotonic())
            raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:  # as in the background of a script
        signal.signal(signal.SIGINT, interrupt)


def main() -> None:
    """Entry point of the console script."""
    try:
        biodenoise(prog_name="biodenoise")
    except OSError as error:  # a full disk behind the standard output
        click.echo(f"biodenoise: nothing can be printed ({error.strerror})", err=True)
        sys.exit(EXIT_FAILURES)
    finally:
        # All is done and said; ending takes a moment, in which a signal would change the exit code.
        for number in INTERRUPTS:
            signal.signal(number, signal.SIG_IGN)
