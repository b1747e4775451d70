"""The command `biodenoise-app`."""

from __future__ import annotations

import signal
import socket
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType

import click

from biodenoising.errors import BiodenoisingError, OptionError

LOOPBACK = "127.0.0.1"
PORT = 7860
EXIT_USAGE = 2


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 96})
@click.option(
    "--port", type=click.IntRange(1, 65_535), default=PORT, show_default=True, help="Serve here."
)
@click.option(
    "--host",
    default=LOOPBACK,
    show_default=True,
    help="Serve on this address; any other lets the network in, without a password.",
)
@click.option("--no-browser", is_flag=True, help="Do not open a browser.")
def biodenoise_app(port: int, host: str, no_browser: bool) -> None:
    """Open a local page that denoises one recording at a time.

    Drop a file, choose model, strength, band and time expansion, see and hear before and after,
    download the result and copy the command that does the same. Nothing leaves this machine; what
    was uploaded and made is deleted at the end. Ctrl-C ends it.
    """
    try:
        _check_free(host, port)
        from biodenoising.app.page import start

        signal.signal(signal.SIGTERM, _end)
        with tempfile.TemporaryDirectory(prefix="biodenoise-app-") as folder:
            page = start(Path(folder), host=host, port=port, open_browser=not no_browser)
            try:
                click.echo(f"http://{host}:{port}  (Ctrl-C ends it)")
                if host not in (LOOPBACK, "localhost", "::1"):
                    click.echo("open to the network: whoever reaches this address can use it")
                while True:
                    time.sleep(3600)
            finally:
                page.close(verbose=False)
    except BiodenoisingError as error:
        click.echo(f"biodenoise-app: {error}", err=True)
        sys.exit(EXIT_USAGE)
    except KeyboardInterrupt:
        return


def _check_free(host: str, port: int) -> None:
    """Raise OptionError where nothing can be served."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        reason = error.strerror or str(error)
        raise OptionError(
            f"cannot serve on {host}:{port} ({reason}); choose another --port or --host"
        ) from error


def _end(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> None:
    """Entry point of the console script."""
    biodenoise_app(prog_name="biodenoise-app")
