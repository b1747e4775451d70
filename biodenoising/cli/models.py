"""The command `biodenoise-models`: which models there are, what they are, are they whole."""

from __future__ import annotations

import json
import sys

import click

from biodenoising.errors import BiodenoisingError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def models() -> None:
    """List, show and check the models that biodenoise can use."""


@models.command("list")
def list_() -> None:
    """List the models that are installed."""
    from biodenoising.models.registry import find_model, list_models

    for name in list_models():
        card = find_model(name)
        size = f"{card.parameters / 1e6:.1f} M" if card.parameters else "-"
        click.echo(f"{name:26} {size:>8}  {card.description}")


@models.command()
@click.argument("model")
def show(model: str) -> None:
    """Print a model's card: architecture, training data and licences, figures, hashes."""
    from biodenoising.models.cards import card_record
    from biodenoising.models.registry import find_model

    try:
        click.echo(json.dumps(card_record(find_model(model)), indent=2))
    except BiodenoisingError as error:
        click.echo(f"biodenoise-models: {error}", err=True)
        sys.exit(2)


@models.command()
@click.argument("names", metavar="[MODEL]...", nargs=-1)
def verify(names: tuple[str, ...]) -> None:
    """Check the files of models against their cards; all models without a name."""
    from biodenoising.models.registry import find_model, list_models, verify_model

    failed = False
    for name in names or list_models():
        try:
            verify_model(find_model(name))
            click.echo(f"ok      {name}")
        except BiodenoisingError as error:
            failed = True
            click.echo(f"failed  {error}", err=True)
    sys.exit(1 if failed else 0)


def main() -> None:
    """Entry point of the console script."""
    models(prog_name="biodenoise-models")
