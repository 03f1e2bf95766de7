"""`python -m winnrobust.zoo RUN ...`."""

from pathlib import Path

import click

from winnrobust import zoo
from winnrobust.runtime.errors import InputError
from winnrobust.zoo.adding import add


@click.command()
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=click.Path(path_type=Path))
def main(runs: tuple[Path, ...]) -> None:
    """Add complete RUNs to the models of this checkout; one of the same name is replaced."""
    try:
        for run in runs:
            known = {model.name for model in zoo.models()}
            name = add(run).name
            click.echo(f"{'replaced' if name in known else 'added'} {name}")
    except InputError as error:
        raise click.ClickException(str(error)) from None


if __name__ == "__main__":
    main(prog_name="python -m winnrobust.zoo")
