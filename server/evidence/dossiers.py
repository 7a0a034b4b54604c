"""A model card: what a model is, whence it came, how it was made and how it did."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ...protocols.settings import Config
from ..histories import History
from ..tables import told
from .revisits import Revisit

_LICENSE = re.compile(r"^license:\s*(\S+)", re.MULTILINE)


def licence(config: Config) -> tuple[str, list[Path]]:
    """A base model's licence by name ("": its folder does not say), and its texts."""
    from ...client.loading import place

    folder = Path(place(config.model))
    if not folder.is_dir():
        return "", []
    texts = sorted(one for one in folder.iterdir() if one.stem.upper() == "LICENSE")
    page = folder / "README.md"
    found = (
        _LICENSE.search(page.read_text("utf-8", "replace")) if page.exists() else None
    )
    return (found[1] if found else ""), texts


def card(visit: Revisit, library: str, lines: list[str]) -> str:
    """A README for a model's folder, with the head that model hubs read.

    Args:
        visit: the run.
        library: "peft", "transformers" or "mergekit".
        lines: how it is loaded, and what else is there to say.
    """
    from ...client.folders import public

    config = visit.tape.config
    name, _ = licence(config)
    history = History.read(visit.tape.folder)
    head = [
        "---",
        f"base_model: {public(config.model.id)}",
        f"library_name: {library}",
        *([f"license: {name}"] if name else []),
        "tags: [federated, merge, fedelta]",
        "---",
        f"# {config.run.name}",
        "",
        "Trained by data owners on data that stayed with them, and merged.",
        "",
    ]
    record = [f"| {key} | {value} |" for key, value in _record(visit, history)]
    return "\n".join([*head, *lines, "", "| | |", "|---|---|", *record, ""])


def _record(visit: Revisit, history: History) -> Iterator[tuple[str, str]]:
    summary, config = history.summary, visit.tape.config
    yield "recipe", f"`{summary['recipe']}`, space `{config.lora.space}`"
    yield "rounds", str(summary["rounds"])
    asked = config.round.clients
    part = f", {asked} of them a round" if asked else ""
    yield "clients", f"{summary['clients']}{part}"
    yield "seed, version", f"{config.run.seed}, fedelta {_version(summary)}"
    yield "privacy", privacy(config, summary)
    yield "base model's digest", f"`{visit.tape.manifests[0]['base']}`"
    yield "model's digest", f"`{visit.session.model.digest}`"
    name, texts = licence(config)
    beside = f", text in `{texts[0].name}`" if texts else ""
    yield "base model's licence", (name or "not said by its folder") + beside
    for place, label in (("base", "before"), ("final", "after")):
        metrics: Mapping[str, Any] = summary["metrics"].get(place) or {}
        shown = [
            f"{n} {told(n, v)}"
            for n, v in metrics.items()
            if _number(v) and n.partition("/")[0] not in ("tokens", "examples")
        ]
        if shown:
            yield f"evaluation, {label}", ", ".join(shown[:8])


def privacy(config: Config, summary: Mapping[str, Any]) -> str:
    """What releases may reveal, in a sentence."""
    mode = config.privacy.mode
    if mode == "none":
        return "no guarantee was asked for"
    spent = summary.get("privacy") or {}
    epsilon = spent.get("epsilon", config.privacy.epsilon or None)
    known = f"epsilon {epsilon:.3g}, " if epsilon else ""
    return f"{mode}-level: {known}delta {config.privacy.delta:g}"


def _version(summary: Mapping[str, Any]) -> str:
    held: Mapping[str, Any] = summary.get("environment") or {}
    return str((held.get("versions") or {}).get("fedelta", "unknown"))


def _number(value: Any) -> bool:
    return isinstance(value, int | float)
