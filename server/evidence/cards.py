"""The report's sections on evidence: what stands against a merge, and what it left."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ...client import probes
from .. import files
from ..cards import Card
from ..drawings import GAIN, LOCAL, MERGED
from ..histories import History
from ..plots import heat
from ..tables import told
from . import diagnoses, harnesses, owncards, panels

Table = Sequence[Sequence[float | None]]

TABLES = {
    "conflict_trimmed": ("conflict trimmed", LOCAL),
    "disparity": ("magnitude disparity", LOCAL),
    "overlap_written": ("overlap written", MERGED),
    "overlap_read": ("overlap read", MERGED),
}


def cards(history: History) -> Iterator[Card]:
    """The sections for which there is something to show."""
    yield from _updates(history)
    yield from _gate(history)
    yield from _told(history)
    yield from _tasks(history)
    yield from owncards.cards(history)
    path = history.folder / diagnoses.FILE
    if path.exists():
        found = files.read_json(path)
        yield from panels.layers(found) if "updates" in found else ()
        yield from _models(found)
        yield from panels.cards(found) if "sets" in found else ()
        yield from _kept(found)
        yield from _soup(found)
        yield from _sure(found)


def _updates(history: History) -> Iterator[Card]:
    found = history.diagnostics()
    if found is None or not found.get("conflict_trimmed"):
        return
    names = [str(name) for name in found["clients"]]
    pictures = [
        heat(found[key], names, title, colour)
        for key, (title, colour) in TABLES.items()
        if found.get(key)
    ]
    shares = [f"{density:.0%}" for density in found["densities"]]
    rows = tuple(
        (name, f"{norm:.3g}", *(f"{one:.0%}" for one in energy))
        for name, norm, energy in zip(
            names, found["norms"], found["energy"], strict=True
        )
    )
    yield Card(
        f"Do the clients' larger changes pull apart? Round {found['round']}",
        "Signs that differ among each one's largest elements; how many times the "
        "larger magnitude of two is the smaller (1: alike); and how far low-rank "
        "updates write to, and read from, the same directions (1: the same; near 0: "
        "others). The table has norms, and the share of an update's energy that so "
        "many of its largest elements hold.",
        tuple(pictures),
        ("client", "norm", *shares),
        rows,
        wide=True,
    )


def _gate(history: History) -> Iterator[Card]:
    found = history.of("gate")
    if not found:
        return
    metric = str(found[0]["metric"])
    rows = tuple(
        (
            str(one["round"]),
            told(metric, one["before"]),
            told(metric, one["merged"]),
            str(one["taken"]),
            ", ".join(one.get("sitting_out") or ()) or "-",
            _worst(one, metric),
        )
        for one in found
    )
    yield Card(
        "What did the gate decide?",
        f"By {metric}, before each merge was handed out. A contribution is worth how "
        "much worse the merge is without it.",
        head=("round", "last", "merged", "taken", "sat out", "worth least"),
        rows=rows,
        opened=True,
        wide=True,
    )


def _worst(one: Mapping[str, Any], metric: str) -> str:
    worth: Mapping[str, float] = one.get("worth") or {}
    if not worth:
        return "-"
    name = min(worth, key=lambda each: worth[each])
    return f"{name} ({told(metric, worth[name])})"


def _told(history: History) -> Iterator[Card]:
    """What clients measured on their own machines, of the last round."""
    found = [
        one
        for one in history.of("contribution")
        if probes.BARRIER in (one.get("metrics") or {})
    ]
    if not found:
        return
    last = max(int(one["round"]) for one in found)
    places = [100 * at // (probes.POINTS - 1) for at in range(probes.POINTS)]
    keys = [*(f"{probes.LOSS}{at}" for at in places), probes.BARRIER]
    keys += [probes.CKA, probes.RATE_GAP]
    rows = tuple(
        (str(one["client"]), *(f"{one['metrics'][key]:.4f}" for key in keys))
        for one in found
        if one["round"] == last
    )
    yield Card(
        f"How far did training take each client? Round {last}",
        "Measured by the clients, each on its own machine by what it keeps for "
        "validation: the loss on the way from the model that it received (0 %) to the "
        "one that it trained (100 %), how far it rises above the line between both, "
        "how alike their hidden states are (CKA, 1: alike), and how many bits a text "
        "more a code for both takes (rate gap).",
        head=(
            "client",
            *(f"loss {at}%" for at in places),
            "barrier",
            "CKA",
            "rate gap",
        ),
        rows=rows,
        opened=True,
        wide=True,
    )


def _tasks(history: History) -> Iterator[Card]:
    """What `fedelta evaluate` found."""
    path = history.folder / harnesses.FILE
    if not path.exists():
        return
    found = files.read_json(path)
    rows = tuple(
        (task, name, *(f"{models[one].get(name, 0):.4g}" for one in ("base", "merged")))
        for task, models in found["tasks"].items()
        for name in models["merged"]
        if not name.endswith("_stderr")
    )
    part = f", the first {found['limit']} rows of each" if found["limit"] else ""
    yield Card(
        "How does it do on other tasks?",
        f"lm-eval's tasks on the base and on the merged model{part}.",
        head=("task", "metric", "base", "merged"),
        rows=rows,
        opened=True,
    )


def _models(found: Mapping[str, Any]) -> Iterator[Card]:
    states = found["states"]
    names: list[str] = states["models"]
    rows = tuple(
        (
            " and ".join(one["between"]),
            *(f"{loss:.3f}" for loss in one["losses"]),
            f"{one['barrier']:.4f}",
        )
        for one in found["barriers"]
    )
    width = len(found["barriers"][0]["losses"]) if rows else 0
    yield Card(
        f"Do the models see the same things? Round {found['round']}",
        f"Hidden states of {found['probe']} public texts, two models at a time: CKA "
        "(1: alike), and how many bits a text more a code for both takes than codes "
        "for each. The table walks between two clients' models: where the loss rises "
        "above the line between its ends, a barrier lies between them.",
        (
            heat(states["cka"], names, "CKA"),
            heat(states["rate_gap"], names, "rate gap"),
        ),
        (
            "between",
            *(f"loss {at / (width - 1):.0%}" for at in range(width)),
            "barrier",
        ),
        rows,
        wide=True,
    )


def _kept(found: Mapping[str, Any]) -> Iterator[Card]:
    clients = found["clients"]
    metric, by_client = clients["metric"], clients["by_client"]
    if not by_client:
        return
    rows = tuple(
        (
            name,
            *(told(metric, one[key]) for key in ("before", "own", "merged")),
            "-" if one["retention"] is None else f"{one['retention']:.3f}",
            str(clients.get("texts", {}).get(name, "-")),
        )
        for name, one in by_client.items()
    )
    both = clients["retained"]
    fair = clients["fairness"]
    kept = f"R_geo {both['r_geo']:.3f}, TRR {both['trr']:.3f}. " if both else ""
    table: Table = clients["interference"]
    measured = any(value is not None for row in table for value in row)
    picture = heat(table, clients["clients"], "interference", GAIN) if measured else ""
    yield Card(
        f"What did each client keep of its own model? Round {found['round']}",
        f"{kept}Worst off is {fair['worst']['client']} "
        f"({told(metric, fair['worst']['value'])}); clients are "
        f"{told(metric, fair['spread'])} apart (standard deviation). Each is judged on "
        "what it keeps for that, else on test texts whose classes are mixed as its "
        "own. In the picture: what merging with one other client alone does to a row's "
        "task, above 0 better.",
        (picture,) if picture else (),
        ("client", "last model", "own model", "merged", "retention", "texts"),
        rows,
        wide=True,
        opened=True,
    )


def _soup(found: Mapping[str, Any]) -> Iterator[Card]:
    soup = found["soup"]
    metric, kept = soup["metric"], set(soup["members"])
    rows = tuple(
        (name, told(metric, value), "kept" if name in kept else "left out")
        for name, value in soup["alone"].items()
    )
    yield Card(
        "Whose models make the best merge?",
        f"A greedy soup: models in the order of what each does alone, each kept where "
        f"the merge with it is no worse. {len(kept)} of {len(rows)} are in it: "
        f"{told(metric, soup['value'])}; all of them merged: "
        f"{told(metric, soup['all'])}. What is chosen by a score is best on it partly "
        f"by luck{_of(soup.get('texts'))}.",
        head=("client", f"{metric} alone", ""),
        rows=rows,
        opened=True,
    )


def _of(count: int | None) -> str:
    """On how many texts, where that is known."""
    return f"; {count} texts judged" if count else ""


def _sure(found: Mapping[str, Any]) -> Iterator[Card]:
    from .drawings import reliability

    models = found["calibration"]
    if not models:
        return
    rows = tuple(
        (name, told("accuracy", one["accuracy"]), f"{one['ece']:.3f}")
        for name, one in models.items()
    )
    shown = {
        n: models[n] for n in ("base", "last", "merged", "ensemble") if n in models
    }
    yield Card(
        "Is it as sure as it is right?",
        "Texts of the test set by how sure a model is of what it says, and how often "
        "it is right then; on the line it is as right as it is sure. ECE is the mean "
        "distance from it. The ensemble is the mean of all clients' own models.",
        (reliability(shown),),
        ("model", "accuracy", "ECE"),
        rows,
        opened=True,
    )
