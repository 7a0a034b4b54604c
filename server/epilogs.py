"""What a command's ``--help`` says of its arguments, and what it ends with."""

from collections.abc import Mapping
from typing import Any

import typer
from typer.core import TyperArgument, TyperCommand
from typer.utils import get_params_from_function

EXAMPLES: Mapping[str, tuple[str, str]] = {
    "init": ("data/ --out federation.toml", "docs/tutorial.md"),
    "plan": ("federation.toml --limit bytes=20MB", "docs/evidence.md"),
    "simulate": ("federation.toml --out runs/first", "docs/tutorial.md"),
    "resume": ("runs/first", "docs/runs.md"),
    "report": ("runs/first --serve", "docs/federation.md"),
    "compare": ("runs/first runs/second", "docs/replays.md"),
    "replay": ("runs/first --recipe 'ties(density=0.2)'", "docs/replays.md"),
    "diagnose": ("runs/first", "docs/evidence.md"),
    "evaluate": ("runs/first", "docs/evidence.md"),
    "search": ("federation.toml --budget 20", "docs/evidence.md"),
    "methods": ("", "docs/recipes.md"),
    "merge": ("--recipe 'fedavg()' --out merged/ a/ b/", "docs/recipes.md"),
    "export": ("runs/first --to peft --out adapter", "docs/evidence.md"),
    "blend": ("runs/first --out blended", "docs/evidence.md"),
    "personalise": ("runs/first", "docs/personal.md"),
    "cluster": ("runs/first --out apart", "docs/personal.md"),
    "experts": ("runs/first --out experts", "docs/personal.md"),
    "verify": ("runs/first", "docs/provenance.md"),
    "withdraw": ("runs/first --client NAME", "docs/provenance.md"),
    "inspect": ("runs/first/updates/0001.payload", "docs/wire.md"),
    "host init": ("HOST --address fed.example.org", "deploy/HOST.md"),
    "host up": ("HOST", "deploy/HOST.md"),
    "host admit": ("node.pub HOST --name hospital-a", "deploy/HOST.md"),
    "host revoke": ("hospital-a HOST", "deploy/HOST.md"),
    "host run": ("run.toml HOST", "deploy/HOST.md"),
    "host status": ("HOST --watch", "deploy/HOST.md"),
    "host renew": ("HOST", "deploy/HOST.md"),
    "join init": ("NODE --name hospital-a --data notes.jsonl", "deploy/JOIN.md"),
    "join up": ("NODE", "deploy/JOIN.md"),
    "join check": ("NODE", "deploy/JOIN.md"),
    "join peers": ("NODE --pin hospital-b=b.line", "docs/secure-aggregation.md"),
    "join included": ("NODE provenance.jsonl", "docs/provenance.md"),
    "join status": ("NODE --follow", "deploy/JOIN.md"),
    "join pull": ("NODE", "deploy/JOIN.md"),
    "region init": ("north --name north", "docs/regions.md"),
    "region up": ("north", "docs/regions.md"),
}
"""What is typed behind each command's name, and where more is said."""


class Command(TyperCommand):
    """A command whose arguments keep their texts.

    `flwr` holds typer below 0.21, whose arguments set their text before click does;
    from 8.5 on click has arguments' texts too and puts None in its place.
    """

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help, arguments' texts put back."""
        declared = get_params_from_function(self.callback) if self.callback else {}
        for one in self.params:
            if isinstance(one, TyperArgument) and one.name in declared:
                one.help = one.help or declared[one.name].default.help
        super().format_help(ctx, formatter)


def finish(app: typer.Typer, above: str = "") -> None:
    """Give every command of an app, and of those below it, all of its help.

    Args:
        app: with all its commands registered.
        above: the words before its commands' names.
    """
    for one in app.registered_commands:
        one.cls = Command
        name = f"{above}{one.name or getattr(one.callback, '__name__', '')}"
        if name in EXAMPLES:
            words, page = EXAMPLES[name]
            typed = f"fedelta {name} {words}".strip()
            one.epilog = f"Such as: {typed} ({page})"
    for group in app.registered_groups:
        if group.typer_instance is not None:
            finish(group.typer_instance, f"{above}{group.name} ")
