"""Help of commands with more options than anybody reads: those that matter first, by topic."""

from collections.abc import Collection, Mapping
from typing import Any

import click

from winnrobust.training.config import SETTINGS

TOPICS = {
    "What": "dataset data arch method recipe unsupervised",
    "How long": "epochs batch_size lr seed limit_train",
    "A WINN": "alpha",
    "Adversarial training": "at_epsilon",
    "Without labels": "cascades",
}
"""Topic -> the settings of it that matter; the command's own options follow."""


def listed(topics: Mapping[str, str]) -> set[str]:
    """The names of all parameters in some topics."""
    return {name for names in topics.values() for name in names.split()}


LESS = set(SETTINGS) - listed(TOPICS)
"""The other settings of a training."""


def _show_all(context: click.Context, parameter: click.Parameter, given: bool) -> None:
    if given:
        click.echo(click.Command.get_help(context.command, context).rstrip())
        context.exit()


class Grouped(click.Command):
    """A command with many options; `--help-all` lists them all.

    Args:
        topics: topic -> names of the parameters that `--help` lists there.
        less: names of those that only `--help-all` lists. All others follow the topics.
    """

    def __init__(
        self,
        *args: Any,
        topics: Mapping[str, str] = TOPICS,
        less: Collection[str] = LESS,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.topics, self.less = topics, less
        self.params.append(
            click.Option(
                ["--help-all"], is_flag=True, is_eager=True, expose_value=False, callback=_show_all,
                help=f"Show the other {len(less)} options as well and exit.",
            )
        )  # fmt: skip

    def get_help(self, ctx: click.Context) -> str:
        """Return help with the options that matter, by topic."""
        formatter = ctx.make_formatter()
        self.format_usage(ctx, formatter)
        self.format_help_text(ctx, formatter)
        parameters = self.get_params(ctx)
        rows = {
            parameter.name: row
            for parameter in parameters
            if (row := parameter.get_help_record(ctx)) and row[1]
        }
        for topic, names in self.topics.items():
            with formatter.section(topic):
                formatter.write_dl([rows[name] for name in names.split()])
        told = {*listed(self.topics), *self.less}
        with formatter.section("This command"):
            formatter.write_dl([row for name, row in rows.items() if name not in told])
        example = next(each.opts[0] for each in parameters if each.name in self.less)
        formatter.write_paragraph()
        formatter.write_text(f"All other options, such as {example}, are in --help-all.")
        return formatter.getvalue().rstrip("\n")
