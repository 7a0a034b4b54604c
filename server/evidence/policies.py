"""What is done about a merge that is not good: nothing, another, or without some."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ...aggregators.compare import compare
from ...aggregators.spaces import Arrival, Merged
from .clusters import clusters
from .keepers import CLIENTS, Gatekeeper

if TYPE_CHECKING:
    from ..mergers import Merger

LAST, GAIN = "last", "gain="
FEWEST = 2
"""Contributions below which none is judged by leaving it out."""


def worths(
    keeper: Gatekeeper, held: Sequence[Arrival], value: float, again: "Merger"
) -> dict[str, float]:
    """By contribution, how much worse the merge is without it."""
    if len(held) < FEWEST or keeper.gate.source == CLIENTS:
        return {}
    found, without = {}, again.without(held)
    for one in held:
        rest = keeper.value(without(one.name).update)
        found[one.name] = keeper.above(value, rest)
    return found


def _report(
    keeper: Gatekeeper,
    held: Sequence[Arrival],
    merged: Merged,
    again: "Merger",
) -> Merged:
    keeper.told["worth"] = worths(keeper, held, keeper.told["merged"], again)
    keeper.told["taken"] = "merged"
    return merged


def _fall_back(
    keeper: Gatekeeper,
    held: Sequence[Arrival],
    merged: Merged,
    again: "Merger",
) -> Merged:
    tried = {"merged": (keeper.told["merged"], merged)}
    for text in keeper.gate.fall_back if not keeper.told["good"] else ():
        one = _instead(keeper, text, held, merged, again)
        value = keeper.told["before"] if text == LAST else keeper.value(one.update)
        tried[text] = (value, one)
        if keeper.good(value):
            break
    names = list(tried)
    best = max(names, key=lambda name: keeper.above(tried[name][0], 0.0))
    taken = names[-1] if keeper.good(tried[names[-1]][0]) else best
    keeper.told["tried"] = {name: value for name, (value, _) in tried.items()}
    keeper.told["taken"] = taken
    return tried[taken][1]


def _instead(
    keeper: Gatekeeper,
    text: str,
    held: Sequence[Arrival],
    merged: Merged,
    again: "Merger",
) -> Merged:
    """Another merge; what one that is not taken cut off is not carried on."""
    from ...client.trials import scaled

    if text != LAST and not text.startswith(GAIN):
        return again(held, text)
    share = 0.0 if text == LAST else float(text.removeprefix(GAIN))
    carry = {
        name: one if name.endswith("|a") else (share * one).astype(one.dtype)
        for name, one in merged.carry.items()
    }
    if text == LAST:
        carry = dict(keeper.session.states.get("carry", {}))
    return replace(merged, update=dict(scaled(merged.update, share)), carry=carry)


def _quarantine(
    keeper: Gatekeeper,
    held: Sequence[Arrival],
    merged: Merged,
    again: "Merger",
) -> Merged:
    """Leave out the worst, one by one, while that helps; never half of all or more."""
    kept, out, value = list(held), list[str](), float(keeper.told["merged"])
    first: dict[str, float] = {}
    while True:
        found = worths(keeper, kept, value, again)
        first = first or found
        worst = min(found, key=lambda name: found[name], default="")
        if not worst or found[worst] >= -keeper.gate.margin:
            break
        if 2 * (len(out) + 1) >= len(held):
            break
        out.append(worst)
        kept = [one for one in kept if one.name != worst]
        merged = again(kept, "")
        value = keeper.value(merged.update)
    keeper.told |= {"worth": first, "quarantined": out, "after": value}
    keeper.told["taken"] = "merged" if not out else f"without {', '.join(out)}"
    return merged


def _split(
    keeper: Gatekeeper,
    held: Sequence[Arrival],
    merged: Merged,
    again: "Merger",
) -> Merged:
    """The cluster whose merge does best; the cohort where none is better."""
    cosine = compare(held)["cosine"]
    best, taken, value = merged, "merged", float(keeper.told["merged"])
    told = []
    for places in clusters(cosine, min(keeper.gate.clusters, len(held))):
        some = [held[place] for place in places]
        one = again(some, "")
        found = keeper.value(one.update)
        told.append({"clients": [each.name for each in some], "value": found})
        if keeper.above(found, value) > keeper.gate.margin:
            best, value, taken = one, found, f"cluster {len(told)}"
    keeper.told |= {"clusters": told, "taken": taken}
    return best


POLICIES: dict[
    str, Callable[[Gatekeeper, Sequence[Arrival], Merged, "Merger"], Merged]
] = {
    "report": _report,
    "fall_back": _fall_back,
    "quarantine": _quarantine,
    "split": _split,
}
