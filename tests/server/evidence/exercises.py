"""The drills that are shipped as tasks: ``python -m tests.server.evidence.exercises``.

Their keys are their own, and no calculation of the built-in domain is among them.
"""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fedelta
from fedelta.client import domains, drills
from fedelta.protocols import seeds

FOLDER = Path(fedelta.__file__).parent / "server" / "evidence" / "tasks"
COUNT = 100
STEPS = (1, -1, 10)
"""How far wrong numbers are from the right one."""


def numbers(prompt: str, answer: str) -> list[str]:
    """The right number and three near it."""
    found = re.search(r"-?\d+", answer)
    assert found is not None, prompt
    near = (answer.replace(found[0], str(int(found[0]) + step)) for step in STEPS)
    return [answer, *near]


def conclusions(prompt: str, answer: str) -> list[str]:
    """All that could be said, the right one first."""
    if prompt.endswith("three?\nAnswer:"):
        pairs = re.findall(r"(\w+) is \w+ than (\w+)", prompt)
        others = [f" {one}" for one in dict.fromkeys(sum(pairs, ()))]
    elif "Does it follow" in prompt:
        others = [" It follows.", " It cannot be concluded."]
    elif "true or false" in prompt:
        others = [" true", " false"]
    else:
        limit, value = re.findall(r"\d+", prompt)
        others = [f" Yes, {value} is above {limit}."]
        others += [f" No, {value} is not above {limit}."]
    return [answer, *(one for one in others if one != answer)]


MAKERS: dict[str, tuple[Callable[[int, int], list[drills.Drill]], Any]] = {
    "arithmetic": (drills.arithmetic, numbers),
    "logic": (drills.logic, conclusions),
}


def fresh(name: str) -> list[drills.Drill]:
    """Drills; of arithmetic none that the built-in domain holds.

    Logic has too few forms for that.
    """
    draw, _ = MAKERS[name]
    drawn = draw(seeds.key("tasks", name), 2 * COUNT)
    if name == "arithmetic":
        held = set(draw(seeds.key("domains", name), 2 * domains.TEXTS))
        drawn = [one for one in drawn if one not in held]
    return drawn[:COUNT]


def rows(name: str) -> Iterator[dict[str, Any]]:
    """A task's rows: a prompt, choices in a keyed order, the right one's place."""
    _, choices = MAKERS[name]
    for at, (prompt, answer) in enumerate(fresh(name)):
        given = choices(prompt, answer)
        order = seeds.permutation(seeds.key("choices", name, at), len(given))
        shown = [given[int(place)] for place in order]
        row = {"prompt": prompt, "choices": shown, "answer": shown.index(answer)}
        yield row


def text(name: str) -> str:
    """A task's file."""
    return "".join(json.dumps(one) + "\n" for one in rows(name))


if __name__ == "__main__":
    for one in MAKERS:
        (FOLDER / f"{one}.jsonl").write_text(text(one), encoding="utf-8")
