"""Help of commands with more settings than anybody reads: those that matter first, by topic."""

from typing import Any

import click

from winnrobust.training.config import SETTINGS, option_name

TOPICS = {
    "What": "dataset data texture arch method recipe unsupervised",
    "How long": "epochs batch_size lr seed limit_train",
    "A WINN": "alpha negatives_per_class synthesis_max_steps",
    "Adversarial training": "at_epsilon at_steps",
    "Without labels": "cascades",
}
"""Topic -> the settings of it that matter; the command's own options follow."""

SHOWN = {name for names in TOPICS.values() for name in names.split()}


def _show_all(context: click.Context, parameter: click.Parameter, given: bool) -> None:
    if given:
        click.echo(click.Command.get_help(context.command, context).rstrip())
        context.exit()


class Grouped(click.Command):
    """A command with an option for every setting of a training; `--help-all` lists them all."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.append(
            click.Option(
                ["--help-all"], is_flag=True, is_eager=True, expose_value=False, callback=_show_all,
                help=f"Show the other {len(SETTINGS) - len(SHOWN)} settings, too, and exit.",
            )
        )  # fmt: skip

    def get_help(self, ctx: click.Context) -> str:
        """Return help with the settings that matter, by topic."""
        formatter = ctx.make_formatter()
        self.format_usage(ctx, formatter)
        self.format_help_text(ctx, formatter)
        rows = {
            parameter.name: row
            for parameter in self.get_params(ctx)
            if (row := parameter.get_help_record(ctx)) and row[1]
        }
        for topic, names in TOPICS.items():
            with formatter.section(topic):
                formatter.write_dl([rows[name] for name in names.split()])
        with formatter.section("This command"):
            formatter.write_dl([row for name, row in rows.items() if name not in SETTINGS])
        formatter.write_paragraph()
        formatter.write_text(
            f"All other settings, such as {option_name('gp_weight')}, are in --help-all."
        )
        return formatter.getvalue().rstrip("\n")
