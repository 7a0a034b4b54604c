"""Built-in sets: texts in groups, whole groups held out for the test.

Texts of one group say nearly the same (the codes of one medical category, the
functions of one module), so a test on single texts would test what was trained on.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..protocols import seeds
from . import tables

if TYPE_CHECKING:
    from datasets import Dataset  # type: ignore[import-untyped]


@dataclass(frozen=True, slots=True)
class Group:
    """Texts that belong together.

    Attributes:
        name: such as a medical category's code, or a module's name.
        label: the texts' class or domain.
        texts: the texts, in the source's order.
    """

    name: str
    label: str
    texts: tuple[str, ...]


def held_out(
    groups: Iterable[Group], what: str, seed: int, share: float
) -> "tuple[Dataset, Dataset]":
    """Groups into training and test tables, label by label.

    Args:
        groups: all of them, in an order that never changes.
        what: the set's name.
        seed: the run's.
        share: of each label's groups that are held out, at least one.
    """
    labels: dict[str, list[Group]] = {}
    for one in groups:
        labels.setdefault(one.label, []).append(one)
    train: list[Group] = []
    test: list[Group] = []
    for label, found in labels.items():
        order = seeds.permutation(seeds.key(what, seed, label), len(found))
        held = max(1, round(len(found) * share))
        test += [found[int(place)] for place in order[:held]]
        train += [found[int(place)] for place in order[held:]]
    return _table(train), _table(test)


def _table(groups: Iterable[Group]) -> "Dataset":
    pairs = [(text, one.label) for one in groups for text in one.texts]
    return tables.of_columns(
        {tables.TEXT: [p[0] for p in pairs], tables.LABEL: [p[1] for p in pairs]}
    )
