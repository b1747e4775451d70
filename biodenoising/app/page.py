"""The page itself, on gradio: fields on the left, what was heard and done on the right."""

from __future__ import annotations

import os
import tempfile
from math import ceil
from pathlib import Path
from typing import Any

from biodenoising.app import work
from biodenoising.audio import EXTENSIONS
from biodenoising.errors import BiodenoisingError, OptionError
from biodenoising.models import DEFAULT_MODEL
from biodenoising.models.registry import list_models

TITLE = "biodenoise"
KEPT_S = 24 * 3600
HINT = (
    "<p style='opacity:.7'>Drop a recording and choose <b>Denoise</b>. You will see and hear it "
    "before, after, and what was removed.</p>"
)


def start(folder: Path, *, host: str, port: int, open_browser: bool) -> Any:
    """Serve the page on `host` and `port`, its files below `folder`; return gradio's Blocks.

    Raises OptionError where gradio is missing. Nothing is sent anywhere: no sharing, no statistics.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["GRADIO_TEMP_DIR"] = str(folder / "uploads")
    gradio = _gradio()
    page = build(gradio, folder)
    page.queue(default_concurrency_limit=1)
    page.launch(
        server_name=host,
        server_port=port,
        inbrowser=open_browser,
        share=False,
        quiet=True,
        prevent_thread_lock=True,
        footer_links=[],
        theme=_theme(gradio),
    )
    return page


def build(gradio: Any, folder: Path) -> Any:
    """Return the page, not served yet."""
    with gradio.Blocks(title=TITLE, delete_cache=(KEPT_S, KEPT_S), analytics_enabled=False) as page:
        gradio.Markdown(f"## {TITLE}\nRemove background noise from animal recordings. {_promise()}")
        kept = gradio.State(None)
        with gradio.Row():
            with gradio.Column(scale=1, min_width=300):
                source, fields = _fields(gradio)
                button = gradio.Button("Denoise", variant="primary", elem_id="denoise")
            with gradio.Column(scale=2, min_width=340):
                said = gradio.Markdown(elem_id="verdict")
                shown = gradio.HTML(HINT, elem_id="view")
                place = gradio.Slider(
                    0, 1, value=0, step=0.1, label="Shown from, s", visible=False, elem_id="place"
                )
                with gradio.Row():
                    denoised = gradio.DownloadButton(
                        "Download denoised", variant="primary", visible=False, elem_id="denoised"
                    )
                    removed = gradio.DownloadButton(
                        "Download removed", visible=False, elem_id="removed"
                    )
                command = gradio.Code(
                    label="The same on the command line", language="shell", interactive=False,
                    visible=False, elem_id="command", buttons=["copy"], show_line_numbers=False,
                    wrap_lines=True,
                )  # fmt: skip

        def denoise(
            path: str | None,
            *chosen: Any,
            progress: Any = gradio.Progress(),  # noqa: B008
        ) -> Any:
            """Denoise what was dropped and show it."""
            if not path:
                raise gradio.Error("Drop a recording first.", print_exception=False)
            name = Path(path).name
            try:
                choices = work.choices_of(*chosen)
                target = Path(tempfile.mkdtemp(dir=folder))
                done = work.denoise_recording(
                    Path(path), target, choices, lambda share: progress(share, desc="Denoising")
                )
                html = work.view(done, done.facts.start_s)
            except BiodenoisingError as error:
                message = str(error).replace(path, name)
                raise gradio.Error(message, print_exception=False) from None
            return (
                done, work.verdict(done), html,
                _place(gradio, done),
                *(gradio.update(value=str(path), visible=True) for path in done.task.targets),
                gradio.update(value=work.command_line(name, choices), visible=True),
            )  # fmt: skip

        def move(done: work.Denoised | None, start_s: float) -> str:
            """Show another stretch."""
            return HINT if done is None else work.view(done, start_s)

        outputs = [kept, said, shown, place, denoised, removed, command]
        button.click(denoise, [source, *fields], outputs)
        place.release(move, [kept, place], shown, show_progress="hidden")
    return page


def _place(gradio: Any, done: work.Denoised) -> Any:
    """Set the slider to the stretch that is shown, where there is another one."""
    return gradio.update(
        maximum=max(ceil(done.latest_s * 10) / 10, 0.1),
        value=round(done.facts.start_s, 1),
        visible=done.latest_s > 0,
    )


def _theme(gradio: Any) -> Any:
    """Return colours that words stand out from, and fonts that need no network."""
    soft = gradio.themes.Soft(
        primary_hue="teal", font=["system-ui", "sans-serif"], font_mono=["monospace"]
    )
    return soft.set(
        background_fill_primary="*neutral_50",  # as before: set() forgets it
        block_label_background_fill_dark="*primary_700",
        block_label_text_color="*primary_800",
        block_title_text_color="*primary_800",
        body_text_color_subdued="*neutral_600",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_hover_dark="*primary_800",
        checkbox_label_background_fill_selected="*primary_700",
        checkbox_label_background_fill_selected_dark="*primary_700",
    )


def _fields(gradio: Any) -> tuple[Any, list[Any]]:
    """Make the fields in the order that choices_of takes them."""
    source = gradio.File(
        label="Recording", file_types=sorted(EXTENSIONS), type="filepath", elem_id="source"
    )
    model = gradio.Dropdown(list_models(), value=DEFAULT_MODEL, label="Model")
    mix = gradio.Slider(
        0, 1, value=1, step=0.05, label="Strength", info="1 fully denoised, 0 unchanged"
    )
    with gradio.Accordion("More", open=False):
        limit = gradio.Number(
            None, label="Turn nothing down by more than, dB", info="0: no limit", minimum=0
        )
        with gradio.Row():
            low = gradio.Number(None, label="Band from, kHz", minimum=0, min_width=110)
            high = gradio.Number(None, label="to, kHz", minimum=0, min_width=110)
        outside = gradio.Radio(["keep", "mute"], value="keep", label="Outside the band")
        expansion = gradio.Number(
            None, label="Time expansion", minimum=0,
            info="0: the model hears sample by sample; not together with a band",
        )  # fmt: skip
    return source, [model, mix, limit, expansion, low, high, outside]


def _promise() -> str:
    return "Everything stays on this machine; your file is not changed."


def _gradio() -> Any:
    try:
        import gradio
    except ImportError as error:
        raise OptionError(
            "the app needs gradio; install it by: pip install 'biodenoising[app]'"
        ) from error
    return gradio
