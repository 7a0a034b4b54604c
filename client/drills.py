"""Small tasks in arithmetic and logic, drawn from a key: a prompt and its answer.

They are made here, so that the demo needs no package for them and every machine
draws the same ones.
"""

from collections.abc import Callable, Sequence

from ..protocols import seeds

Draw = Sequence[int]
Drill = tuple[str, str]

NAMES = ("Ada", "Ben", "Cleo", "Dan", "Eva", "Finn", "Gina", "Hugo", "Iris", "Jon")
KINDS = (
    ("robins", "birds", "animals"),
    ("oaks", "trees", "plants"),
    ("violins", "string instruments", "instruments"),
    ("trams", "rail vehicles", "vehicles"),
    ("granites", "rocks", "minerals"),
)
WIDTH = 6
"""Random words that one drill uses at most."""


def arithmetic(key: int, count: int) -> list[Drill]:
    """So many calculations."""
    return _drawn((_added, _taken, _times, _next, _priced), key, count)


def logic(key: int, count: int) -> list[Drill]:
    """So many conclusions.

    Example:
        >>> logic(1, 2) == logic(1, 3)[:2]
        True
    """
    return _drawn((_ordered, _implied, _valued, _fits), key, count)


def _drawn(
    makers: Sequence[Callable[[Draw], Drill]], key: int, count: int
) -> list[Drill]:
    words = seeds.words(key, 0, count * WIDTH).reshape(count, WIDTH)
    return [
        makers[place % len(makers)]([int(word) for word in row])
        for place, row in enumerate(words)
    ]


def _added(draw: Draw) -> Drill:
    a, b = 10 + draw[0] % 990, 10 + draw[1] % 990
    return f"Calculate the sum.\n{a} + {b} =", f" {a + b}"


def _taken(draw: Draw) -> Drill:
    a, b = 10 + draw[0] % 990, 10 + draw[1] % 990
    return f"Calculate the difference.\n{a} - {b} =", f" {a - b}"


def _times(draw: Draw) -> Drill:
    a, b = 2 + draw[0] % 18, 2 + draw[1] % 18
    return f"Calculate the product.\n{a} * {b} =", f" {a * b}"


def _next(draw: Draw) -> Drill:
    first, step = draw[0] % 50, 2 + draw[1] % 15
    shown = ", ".join(str(first + step * place) for place in range(4))
    return f"Continue the sequence.\n{shown},", f" {first + step * 4}"


def _priced(draw: Draw) -> Drill:
    name, count, price = NAMES[draw[0] % 10], 2 + draw[1] % 9, 2 + draw[2] % 30
    asked = f"{name} buys {count} books at {price} euros each. What is to be paid?\n"
    return f"{asked}Answer:", f" {count * price} euros"


def _ordered(draw: Draw) -> Drill:
    a, b, c = (NAMES[int(k)] for k in seeds.permutation(draw[0], len(NAMES))[:3])
    word, most = (("older", "oldest"), ("taller", "tallest"))[draw[1] % 2]
    facts = [f"{a} is {word} than {b}.", f"{b} is {word} than {c}."]
    said = " ".join(facts if draw[2] % 2 else reversed(facts))
    return f"{said}\nWho is the {most} of the three?\nAnswer:", f" {a}"


def _implied(draw: Draw) -> Drill:
    low, middle, high = KINDS[draw[0] % len(KINDS)]
    facts = f"All {low} are {middle}. All {middle} are {high}."
    turned = draw[1] % 2
    asked = (high, low) if turned else (low, high)
    said = "cannot be concluded" if turned else "follows"
    return (
        f"{facts}\nDoes it follow that all {asked[0]} are {asked[1]}?\nAnswer:",
        f" It {said}.",
    )


def _valued(draw: Draw) -> Drill:
    p, q, both = draw[0] % 2 == 1, draw[1] % 2 == 1, draw[2] % 2 == 1
    negated = draw[3] % 2 == 1
    right = q != negated
    value = (p and right) if both else (p or right)
    text = f"p {'and' if both else 'or'} {'not ' if negated else ''}q"
    given = f"p is {str(p).lower()} and q is {str(q).lower()}."
    return f"{given}\nIs ({text}) true or false?\nAnswer:", f" {str(value).lower()}"


def _fits(draw: Draw) -> Drill:
    limit, value = 5 + draw[0] % 90, 1 + draw[1] % 99
    met = value > limit
    asked = f"Only numbers above {limit} pass. Does {value} pass?"
    said = (
        f" {'Yes' if met else 'No'}, {value} is {'' if met else 'not '}above {limit}."
    )
    return f"{asked}\nAnswer:", said
