"""Masked sums are the plain ones, whoever drops out when; and every way out by name."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedelta.client.maskers import Masker
from fedelta.protocols import dealings, seeds
from fedelta.protocols.aborts import Abort, AbortError
from fedelta.protocols.adverts import Advert, session, signed
from fedelta.protocols.dealings import Way
from fedelta.protocols.terms import Terms
from tests.veiled import Cohort, again, plain, stream, terms

NAMES = ("a", "b", "c", "d", "e", "f")
SHARES = {name: share for share, name in enumerate(NAMES, 1)}
RECIPES: dict[str, dict[str, Any]] = {
    "fedavg()": {},
    "ties(density=0.5)": {},
    "ties(density=0.5, election='count')": {"lane": 32, "bound": 1.0},
    "dare(density=0.5)": {},
    "dare_ties(density=0.5)": {"lane": 32},
    "min_agree(members=3)": {},
    "sign_vote(0.4)": {},
    "trim(0.5) | fedavg": {"support": "private"},
    "localize_and_stitch(density=0.5)": {"support": "private"},
}
DROPS: dict[str, dict[str, list[str]]] = {
    "nobody": {},
    "before adverts": {"advert": ["b"]},
    "before shares": {"shares": ["b"]},
    "before inputs": {"input": ["a"], "shares": ["f"]},
    "before the first opening": {"unmask": ["d"]},
    "before values": {"values": ["c"]},
    "before the last opening": {"unmask values": ["a", "e"]},
    "at two steps": {"shares": ["f"], "values": ["c"]},
}


def values(size: int = 400) -> dict[str, Any]:
    """Changes of all sizes up to the bound, half of them zero."""
    found = {}
    for name in NAMES:
        drawn = seeds.normal(seeds.key("masks", name), 0, size).astype(np.float32)
        drawn *= np.float32(0.2)
        drawn[seeds.uniform(seeds.key("zero", name), 0, size) < 0.3] = 0
        drawn[:2] = (1.0, -1.0)
        found[name] = drawn
    return found


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("drop", DROPS)
def test_an_opened_sum_is_the_quantised_plain_merge(recipe: str, drop: str) -> None:
    given = terms(recipe, SHARES, threshold=4, slack=1, **RECIPES[recipe])
    cohort = Cohort(given, DROPS[drop])
    found = cohort.merged(values())
    early = {"advert", "shares", "input"}
    lost = {n for phase in early for n in cohort.gone.get(phase, ())}
    counted = [name for name in NAMES if name not in lost]
    late = ["unmask", "values"] if given.passes > 1 else []
    gone = {n for phase in late for n in cohort.gone.get(phase, ())} - lost
    survivors = [name for name in counted if name not in gone]
    assert cohort.counted == survivors
    wanted = plain(given, values(), survivors, counted)
    assert np.array_equal(found.view(np.uint32), wanted.view(np.uint32))
    assert found.any()


def abort(wanted: Abort, act: Callable[[], object]) -> None:
    with pytest.raises(AbortError) as told:
        act()
    assert told.value.abort == wanted, str(told.value)


def adverts(cohort: Cohort) -> list[Advert]:
    begun = []
    for name in cohort.terms.names:
        one, advert = Masker.begin(
            cohort.terms, name, cohort.keys[name], stream(name + cohort.terms.attempt)
        )
        cohort.clients[name] = one
        begun.append(advert)
    return begun


FIVE = dict.fromkeys(NAMES[:5], 1)


def fresh(**changes: Any) -> Cohort:
    return Cohort(again(terms("fedavg()", FIVE), **changes))


def begun() -> Cohort:
    cohort = fresh()
    cohort.begin()
    return cohort


def test_too_few() -> None:
    few = {"advert": ["a", "b"]}
    abort(Abort.TOO_FEW, Cohort(terms("fedavg()", FIVE), few).begin)
    abort(Abort.TOO_FEW, Cohort(terms("fedavg()", FIVE), {"shares": ["a", "b"]}).begin)
    for phase in ("input", "unmask"):
        cohort = Cohort(terms("fedavg()", SHARES), {phase: ["a", "b", "c"]})
        abort(Abort.TOO_FEW, lambda one=cohort: one.merged(values()))  # type: ignore[misc]


def test_a_client_opens_nothing_over_too_few() -> None:
    cohort = begun()
    one = cohort.clients["a"]
    one.mask(0, np.zeros(3, "<u8"))
    abort(Abort.TOO_FEW, lambda: one.reveal(0, ["a", "b", "c"]))
    abort(Abort.WRONG_SURVIVORS, lambda: one.reveal(0, ["b", "c", "d", "e"]))
    abort(Abort.WRONG_SURVIVORS, lambda: one.reveal(0, ["a", "b", "c", "x"]))
    one.reveal(0, ["a", "b", "c", "d"])
    abort(Abort.WRONG_SURVIVORS, lambda: one.reveal(0, ["a", "b", "c", "e"]))
    abort(Abort.WRONG_STEP, lambda: one.reveal(0, ["a", "b", "c", "d"]))
    abort(Abort.WRONG_STEP, lambda: one.mask(0, np.zeros(3, "<u8")))


def test_adverts_that_are_refused() -> None:
    """By server and clients alike: they call the same function."""
    cohort = fresh()
    good, key = adverts(cohort), cohort.keys["a"]
    other = again(cohort.terms, attempt="bb" * 16)
    stale = again(cohort.terms, round=2)

    def of(given: Terms, name: str = "a") -> Advert:
        return Masker.begin(given, name, key, stream("x"))[1]

    cases: dict[Abort, Advert] = {
        Abort.BAD_SIGNATURE: replace(good[0], sealing="11" * 32),
        Abort.STRANGER: signed(good[0], cohort.keys["b"]),
        Abort.REPLAYED: of(other),
        Abort.WRONG_ROUND: of(stale),
        Abort.WRONG_TERMS: of(again(cohort.terms, fraction=20)),
        Abort.DUPLICATE_KEY: signed(replace(good[0], sealing=good[1].sealing), key),
    }
    for wanted, bad in cases.items():
        with_bad = [bad, *good[1:]]
        abort(wanted, lambda one=with_bad: cohort.server.introduce(one))  # type: ignore[misc]
        client = Masker.begin(cohort.terms, "b", cohort.keys["b"], stream("b"))[0]
        abort(wanted, lambda c=client, one=with_bad: c.deal(one, cohort.pins))  # type: ignore[misc]
    renamed = signed(replace(good[0], name="z"), key)
    abort(Abort.STRANGER, lambda: cohort.server.introduce([renamed, *good[1:]]))
    mine = cohort.clients["a"]
    abort(Abort.WRONG_TERMS, lambda: mine.deal(good[1:], cohort.pins))


def test_a_key_that_makes_the_result_known() -> None:
    cohort = fresh()
    good = adverts(cohort)
    low = signed(replace(good[0], sealing="00" * 32), cohort.keys["a"])
    abort(
        Abort.BAD_KEY,
        lambda: cohort.clients["b"].deal([low, *good[1:]], cohort.pins),
    )


def test_what_was_dealt_and_replace() -> None:
    cohort = fresh()
    cohort.there("advert", NAMES)
    cohort.gone = {"input": list(NAMES)}
    cohort.begin()
    sealed = {n: cohort.server.sealed[n]["a"] for n in "bcde"}
    told = {n: dict(cohort.server.commitments[n]["a"]) for n in "bcde"}
    state = cohort.clients["a"].to_json()
    broken = sealed | {"b": sealed["b"][:-1] + bytes([sealed["b"][-1] ^ 1])}
    abort(Abort.BAD_SEAL, lambda: Masker.from_json(state).hold(broken, told))
    swapped = sealed | {"b": sealed["c"]}
    abort(Abort.BAD_SEAL, lambda: Masker.from_json(state).hold(swapped, told))
    lied = told | {"b": told["b"] | {"mask.0": "00" * 32}}
    abort(Abort.COMMITMENT_MISMATCH, lambda: Masker.from_json(state).hold(sealed, lied))
    abort(Abort.TOO_FEW, lambda: Masker.from_json(state).hold({"b": sealed["b"]}, told))
    more = sealed | {"x": sealed["b"]}
    abort(Abort.STRANGER, lambda: Masker.from_json(state).hold(more, told))


def revealed(cohort: Cohort) -> tuple[Any, dict[str, dict[str, bytes]]]:
    words = np.arange(9, dtype="<u8")
    opening = cohort.server.opening(0, cohort.server.dealers(), words.size)
    for name, one in cohort.clients.items():
        cohort.server.add(opening, name, one.mask(0, words).tobytes())
    there = cohort.server.survivors(opening)
    return opening, {n: one.reveal(0, there) for n, one in cohort.clients.items()}


def test_a_wrong_share_is_left_out_and_its_holder_named() -> None:
    cohort = begun()
    opening, shares = revealed(cohort)
    shares["c"]["a"] = bytes(16)
    bare, wrong = cohort.server.open(opening, shares)
    assert (bare == 5 * np.arange(9)).all()
    assert wrong["c"].abort == Abort.COMMITMENT_MISMATCH
    shares["d"]["a"] = bytes(16)  # now fewer than the threshold are right
    abort(Abort.TOO_FEW, lambda: cohort.server.open(opening, shares))


def test_a_dealer_whose_shares_do_not_fit_each_other() -> None:
    """Committed to, and so revealed as dealt, but not of one secret."""
    cohort = begun()
    opening, shares = revealed(cohort)
    salt = session(cohort.terms, cohort.server.adverts)
    forged = Way(salt, "a", "b").commitment("self.0", bytes(16))
    held = {k: dict(v) for k, v in cohort.server.commitments["a"].items()}
    held["b"]["self.0"] = forged
    cohort.server.commitments["a"] = held
    shares["b"]["a"] = bytes(16)
    abort(Abort.INCONSISTENT_SHARE, lambda: cohort.server.open(opening, shares))


def test_words_that_are_no_masked_contribution() -> None:
    cohort = begun()
    opening = cohort.server.opening(0, cohort.server.dealers(), 4)
    one = cohort.clients["a"].mask(0, np.zeros(4, "<u8")).tobytes()
    abort(Abort.LANE_RANGE, lambda: cohort.server.add(opening, "a", one[:-8]))
    abort(Abort.STRANGER, lambda: cohort.server.add(opening, "x", one))
    cohort.server.add(opening, "a", one)
    abort(Abort.WRONG_STEP, lambda: cohort.server.add(opening, "a", one))


def test_garbage_in_a_sum_is_found() -> None:
    cohort = fresh()
    found = values()
    bad = cohort.terms.names[2]

    def words(number: int, given: Any) -> Any:
        given[bad] = given[bad] + np.uint64(1 << 63)
        return Cohort.sum(cohort, number, given)

    cohort.sum = words  # type: ignore[assignment,method-assign]
    abort(Abort.LANE_RANGE, lambda: cohort.merged({n: found[n] for n in FIVE}))


def test_support_below_the_release_threshold() -> None:
    """More are lost after the counts than the slack allows: nothing is opened."""
    given = terms("ties(density=0.5)", SHARES, threshold=4)
    cohort = Cohort(given, {"values": ["c"]})
    abort(Abort.BELOW_RELEASE, lambda: cohort.merged(values()))
    one = cohort.clients["a"]
    abort(Abort.BELOW_RELEASE, lambda: one.reveal(1, [n for n in NAMES if n != "c"]))


def test_a_change_above_the_bound_is_told_before_it_is_sent() -> None:
    found = values()
    found["b"][7] = np.float32(9.0)
    abort(Abort.OUT_OF_BOUND, lambda: Cohort(terms("fedavg()", SHARES)).merged(found))


def test_no_key_serves_twice() -> None:
    """Sealing, pair and own keys of both openings differ, and so do both directions."""
    cohort = Cohort(terms("ties(density=0.5)", SHARES))
    cohort.begin()
    one = cohort.clients["a"]
    salt, seen = one.session, set()
    for opening in (0, 1):
        private = one._private(opening)
        for other in "bcdef":
            theirs = cohort.server.adverts[other].masks[opening]
            seen.add(dealings.pair_key(private, theirs, salt, ("a", other), opening))
        secret = one.secrets[f"self.{opening}"]
        seen.add(dealings.self_key(secret, salt, "a", opening))
    for other in "bcdef":
        theirs = cohort.server.adverts[other].sealing
        seen.add(Way(salt, "a", other).key(one.sealing, theirs))
        seen.add(Way(salt, other, "a").key(one.sealing, theirs))
    assert len(seen) == 2 * (5 + 1) + 2 * 5


def test_every_way_out_is_tested_by_its_name() -> None:
    """Here, or where whole federations meet it: `SPENT` takes a client's folder."""
    here = Path(__file__).read_text("utf-8")
    there = (Path(__file__).parents[1] / "end_to_end/test_masks.py").read_text("utf-8")
    assert all(f"Abort.{one}" in here or f'"{one}"' in there for one in Abort)
