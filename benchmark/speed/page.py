"""SPEED.md and its plot from the figures of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmark.report import table

Figures = dict[str, Any]


def render(figures: Figures) -> str:
    """Return the page's text."""
    parts = [_head(figures)]
    for name, title, make in (
        ("paths", "A folder of recordings, against the reference path", _paths),
        ("peers", "One core, against other tools", _peers),
        ("memory", "Memory", _memory),
        ("integers", "8-bit integers", _integers),
        ("scaling", "Cores, rates, and what the machine could do", _scaling),
        ("start", "Starting", _start),
        ("live", "Live sound", _live),
        ("training", "Training", _training),
    ):
        if name in figures:
            parts.append(f"## {title}\n\n{make(figures)}")
    return "\n\n".join(parts) + "\n"


def _head(figures: Figures) -> str:
    about, machine = figures["about"], figures["machine"]
    return (
        "# Speed and memory\n\n"
        f"Written by `{about['command']}` on {about['date']}; every figure was measured in that run"
        f"{about['partly']}. {machine['cores']} cores of a {machine['processor']}, load "
        f"{machine['load_before']:.1f} before, float32 matrix products at {machine['gflops']:.0f} "
        "GFLOP/s on one thread.\n\n"
        "RTF is seconds per second of audio; lower is faster. **Processor** seconds are those that "
        "processors were busy with it, on one thread what an idle machine takes by the clock; they "
        "hold where a machine has other work too. Times by the clock do not: look at the load. "
        "Ratios count, times are this machine's.\n\n![Speed and memory](plots/speed.png)"
    )


def _paths(figures: Figures) -> str:
    found = figures["paths"]
    rows = [
        [name, f"{row['rtf']:.4f}", f"{1 / row['rtf']:.0f}", f"{row['times_faster']:.1f} x",
         f"{row['processor_rtf']:.4f}", f"{row['times_cheaper']:.1f} x"]
        for name, row in found["rows"].items()
    ]  # fmt: skip
    return (
        f"{found['files']} mono files at 16 kHz, {found['audio_s']:.0f} s in all, all cores, from "
        "the start of the process to its end: decoding, model, encoding, hashes. The reference "
        "path is eager torch on whole files, one at a time. The same untrained weights on both "
        "sides where they are compared; the files hold steady noise, which ours compute with 8-bit "
        "integers where model and processor have them. The commands took turns, and ratios are of "
        "one turn. CleanUNet, where it is, had two files of 60 s and a reference of its own.\n\n"
        + table(
            [
                "what",
                "RTF by the clock",
                "x real time",
                "faster than its reference",
                "processor RTF",
                "fewer processor seconds",
            ],
            rows,
        )
    )


def _peers(figures: Figures) -> str:
    ordered = sorted(figures["peers"]["rows"].items(), key=lambda row: row[1].get("rtf") or 9e9)
    rows = [
        [
            f"**{name}**" if row["kind"] == "model" else name,
            f"{row['rtf']:.4f}" if "rtf" in row else row.get("error", "")[:60],
            f"{1 / row['rtf']:.0f}" if "rtf" in row else "",
            f"{row['memory_mb']:.0f}" if "memory_mb" in row else "",
        ]
        for name, row in ordered
    ]
    return (
        "Sound at 48 kHz on one thread, each tool alone in a process, loaded before. Our "
        "models and those marked `native` hear every sample; those marked with a rate hear the "
        "recording resampled to it.\n\n"
        + table(["tool", "processor RTF", "x real time", "memory, MB"], rows)
    )


def _memory(figures: Figures) -> str:
    rows = [
        [name, f"{row['peak_mb']:.0f}", f"{row['cpu_s']:.1f}",
         f"{row['audio_s'] / row['cpu_s']:.0f}"]
        for name, row in figures["memory"]["rows"].items()
    ]  # fmt: skip
    return (
        "The command's peak resident memory on one file, mono at 16 kHz where nothing else is "
        "said.\n\n"
        + table(["model and length", "peak, MB", "processor s", "audio s a processor s"], rows)
    )


def _integers(figures: Figures) -> str:
    found = figures["integers"]
    if not found["rows"]:
        return "Not measured: it takes the benchmark's recordings and a processor that has them."
    rows = [
        [
            name,
            f"{row['float32_db']:.2f}",
            f"{row['int8_db']:.2f}",
            "{:+.3f} [{:+.3f}, {:+.3f}]".format(*row["change_db"]),
            f"{row['mean_change_db']:+.3f}",
            f"{row['worst_tenth_db']:+.2f}",
            f"{row['times_faster']:.1f} x",
        ]
        for name, row in found["rows"].items()
    ]
    return (
        "Where model and processor have them, steady sound is computed with 8-bit integers; "
        "chunks with loud moments are computed in floats, and so no faster. SI-SDR improvement on "
        f"{found['mixtures']} mixtures of `field`, mixture by mixture:\n\n"
        + table(
            [
                "model",
                "float32, median dB",
                "int8, median dB",
                "change, median dB [95 %]",
                "mean dB",
                "worst tenth, dB",
                "faster",
            ],
            rows,
        )
    )


def _scaling(figures: Figures) -> str:
    found, peak = figures["scaling"], figures["machine"]["gflops"]
    cores = [
        [*name.split(", "), f"{row['rtf']:.4f}", f"{row['processor_rtf']:.4f}"]
        for name, row in found["cores"].items()
    ]
    rates = [
        [*name.split(", "), f"{rtf:.4f}", f"{1 / rtf:.0f}"] for name, rtf in found["rates"].items()
    ]
    needed = []
    for name, count in found["multiplications"].items():
        bound, rtf = 2 * count / (peak * 1e9), found["cores"][f"{name}, 1"]["processor_rtf"]
        needed.append([name, f"{count / 1e6:.0f}", f"{bound:.4f}", f"{rtf:.4f}",
                       f"{100 * bound / rtf:.0f} %"])  # fmt: skip
    return "\n\n".join(
        (
            "One file in memory at 16 kHz:",
            table(["model", "threads", "RTF by the clock", "processor RTF"], cores),
            "Models hear samples: the rate decides. One thread:",
            table(["model", "rate, Hz", "processor RTF", "x real time"], rates),
            "The roof: multiplications of the layers alone at this machine's best rate of matrix "
            "products on one thread. Context that chunks share, spectra, activations and levels "
            "are on top.",
            table(
                ["model", "million a second", "RTF at the roof", "processor RTF", "reached"], needed
            ),
        )
    )  # fmt: skip


def _start(figures: Figures) -> str:
    found = figures["start"]
    rows = [
        [name, f"{row['file_processor_s']:.2f}", f"{row['file_s']:.2f}",
         f"{row['first_sample_s']:.2f}"]
        for name, row in found.items()
        if isinstance(row, dict)
    ]  # fmt: skip
    return (
        f"`biodenoise --help` takes {found['help_processor_s']:.2f} processor seconds "
        f"({found['help_s']:.2f} by the clock). Ten seconds at 16 kHz from a cold process, "
        "medians:\n\n"
        + table(
            [
                "model",
                "file to file, processor s",
                "by the clock, s",
                "first sample out of a live pipe, by the clock, s",
            ],
            rows,
        )
    )


def _live(figures: Figures) -> str:
    rows = [
        [
            *name.split(", "),
            f"{row['latency']}",
            f"{row['latency_ms']:.0f}",
            f"{row['rtf']:.3f}",
            f"{row['dearest_ms']:.1f}",
        ]
        for name, row in figures["live"]["rows"].items()
    ]
    return (
        "`Denoiser.stream` on one thread, blocks of 10 ms. A block that completes a step or window "
        "pays for all of it.\n\n"
        + table(
            [
                "model",
                "rate, Hz",
                "latency, samples",
                "ms",
                "processor RTF",
                "dearest 1 % of blocks, ms",
            ],
            rows,
        )
    )


def _training(figures: Figures) -> str:
    found = figures["training"]
    return (
        "The compact student, batches of 6 x 65,536 samples mixed while it trains, all cores: "
        f"{found['seconds_a_step']:.2f} s a step by the clock, "
        f"{found['audio_hours_an_hour']:.0f} hours of audio an hour, "
        f"{found['cores_used']:.1f} cores busy."
    )


def draw(figures: Figures, path: Path) -> None:
    """Draw speed against the reference path and memory against length."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3), layout="constrained")
    rows = figures.get("paths", {}).get("rows", {})
    left.barh(list(rows), [1 / row["processor_rtf"] for row in rows.values()])
    left.invert_yaxis()
    left.set_xlabel("seconds of audio a processor second")
    lengths: dict[str, list[tuple[float, float]]] = {}
    for name, row in figures.get("memory", {}).get("rows", {}).items():
        model = name.split(", ")[0]
        lengths.setdefault(model, []).append((row["audio_s"] / 60, row["peak_mb"]))
    for model, points in lengths.items():
        right.plot(*zip(*points, strict=True), "o-", label=model)
    right.set_xscale("log")
    right.set_ylim(bottom=0)
    right.set_xlabel("minutes of audio")
    right.set_ylabel("peak memory, MB")
    if lengths:
        right.legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80)
    pyplot.close(figure)
