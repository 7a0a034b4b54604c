"""The report's sections: a question, a picture that answers it, the numbers."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import plots
from .drawings import LOCAL
from .histories import History
from .tables import gained, milestones, size, told


@dataclass(frozen=True, slots=True)
class Card:
    """One section.

    Attributes:
        title: what it answers.
        note: how to read it, in a sentence or two.
        pictures: inline SVG.
        head: the table's column titles.
        rows: the table's cells.
        wide: takes the page's whole width.
        opened: the table is shown, not folded away.
    """

    title: str
    note: str = ""
    pictures: tuple[str, ...] = ()
    head: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    wide: bool = False
    opened: bool = False


def cards(history: History) -> list[Card]:
    """The sections for which a run left something to show, in reading order."""
    from .evidence import cards as evidence

    makers: tuple[Callable[[History], Iterator[Card]], ...] = (
        _rounds,
        _clients,
        _traffic,
        _phases,
        _pairs,
        _layers,
        evidence.cards,
        _refusals,
    )
    return [card for make in makers for card in make(history)]


def _rounds(history: History) -> Iterator[Card]:
    metric = history.metric
    curve = history.curve(metric)
    if not curve:
        return
    marks = milestones(history.summary, metric)
    picture = plots.by_round(curve, marks, metric)
    base = curve[0][1]
    rows = tuple(
        (str(at), told(metric, value), gained(metric, value, base))
        for at, value in curve
    )
    yield Card(
        f"Did the merged model get better? {metric.capitalize()} by round",
        "Round 0 is the base model. The dashed lines are what it is held against, "
        "all on the same test set.",
        (picture,),
        ("round", metric, "above round 0"),
        rows,
    )


def _clients(history: History) -> Iterator[Card]:
    metric = history.metric
    alone = history.alone(metric)
    final = history.summary["metrics"]["final"].get(metric)
    if not alone or final is None:
        return
    gainers = sum(final > value for value in alone.values())
    picture = plots.by_client(alone, final, metric)
    rows = tuple(
        (name, told(metric, value), gained(metric, final, value))
        for name, value in sorted(alone.items())
    )
    yield Card(
        "Which clients gain, which lose?",
        f"{gainers} of {len(alone)} clients do better with the merged model than "
        "with one that they train alone, for as many steps, on their own data.",
        (picture,),
        ("client", f"own model's {metric}", "merged model"),
        rows,
    )


def _traffic(history: History) -> Iterator[Card]:
    sent = history.summary.get("bytes") or {}
    dense = sent.get("up_dense_fp32")
    if not dense:
        return
    picture = plots.traffic(sent["up"], sent["down"], dense)
    rows = tuple((name.replace("_", " "), f"{count:,}") for name, count in sent.items())
    yield Card(
        "What travelled?",
        "All rounds together. Dense is what the same trainable parameters take as "
        "float32.",
        (picture,),
        ("direction", "bytes"),
        rows,
    )


def _phases(history: History) -> Iterator[Card]:
    found = history.phases()
    if not found:
        return
    names = list(dict.fromkeys(name for _, row in found for name in row))
    rows = tuple(
        (str(number), *(f"{row.get(name, 0.0):.2f}" for name in names))
        for number, row in found
    )
    yield Card(
        "Where did the time go?",
        "Seconds of each round on this machine, by phase.",
        (plots.by_phase(found),),
        ("round", *names),
        rows,
    )


def _pairs(history: History) -> Iterator[Card]:
    found = history.diagnostics()
    if found is None or not found.get("cosine"):
        return
    names = [str(name) for name in found["clients"]]
    one = plots.heat(found["cosine"], names, "cosine")
    two = plots.heat(found["conflict"], names, "sign conflict", LOCAL)
    yield Card(
        f"How alike are the clients' updates? Round {found['round']}",
        "Cosine of two clients' updates: near 0 they have little in common, below 0 "
        "they pull apart. Sign conflict: the share of elements that both move, in "
        "opposite directions; unrelated updates are at one half.",
        (one, two),
        wide=True,
    )


def _layers(history: History) -> Iterator[Card]:
    found = history.diagnostics()
    layers = {} if found is None else by_layer(found.get("layers") or {})
    if not layers:
        return
    rows = tuple(
        (name, f"{cosine:.3f}", f"{conflict:.3f}")
        for name, (cosine, conflict) in layers.items()
    )
    yield Card(
        "Where do they agree? By layer",
        "Means over all pairs of clients.",
        (plots.by_layer(layers),),
        ("layer", "cosine", "sign conflict"),
        rows,
    )


def by_layer(layers: Mapping[str, Mapping[str, Any]]) -> dict[str, tuple[float, float]]:
    """Mean cosine and conflict over pairs, by layer.

    Example:
        >>> by_layer({"a": {"cosine": [[1, 0.5], [0.5, 1]], "conflict": 0.25}})
        {'a': (0.5, 0.25)}
    """
    means = {
        name: (_mean(one.get("cosine")), _mean(one.get("conflict")))
        for name, one in layers.items()
    }
    return {
        name: (cosine, conflict)
        for name, (cosine, conflict) in means.items()
        if cosine is not None and conflict is not None
    }


def _mean(value: float | Sequence[Sequence[float | None]] | None) -> float | None:
    """A number as it is, a matrix by the mean beside its diagonal."""
    if value is None or isinstance(value, int | float):
        return value
    cells = [
        cell
        for row, cells in enumerate(value)
        for column, cell in enumerate(cells)
        if row != column and cell is not None
    ]
    return sum(cells) / len(cells) if cells else None


def _refusals(history: History) -> Iterator[Card]:
    found = history.refusals()
    replies = history.of("contribution")
    accepted = sum(line["verdict"] == "accepted" for line in replies)
    weights = [line["bytes"] for line in replies if line.get("bytes")]
    mean = f", {size(sum(weights) / len(weights))} each on average" if weights else ""
    rows = tuple(
        (
            reason,
            str(clients.total()),
            ", ".join(f"{name} ({times})" for name, times in clients.most_common()),
        )
        for reason, clients in found.items()
    )
    yield Card(
        "What was refused?",
        f"{accepted} of {len(replies)} replies were merged{mean}."
        + ("" if rows else " None was refused."),
        head=("reason", "times", "clients") if rows else (),
        rows=rows,
        opened=True,
    )
