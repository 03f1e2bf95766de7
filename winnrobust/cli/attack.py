import click


@click.command()
def attack() -> None: ...
