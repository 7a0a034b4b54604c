"""The report's section on models of clients' own."""

from collections.abc import Iterator

from .. import files
from ..cards import Card
from ..histories import History
from ..tables import told
from .personals import FILE, MODELS


def cards(history: History) -> Iterator[Card]:
    """What `fedelta personalise` left in a run's folder, if it was asked."""
    path = history.folder / FILE
    if not path.exists():
        return
    found = files.read_json(path)
    metric = str(found["metric"])
    there = [name for name in MODELS if name in found["mean"]]
    rows = [
        (name, *(told(metric, one[each]) for each in there), f"{one['share']:.0%}")
        for name, one in found["by_client"].items()
    ]
    rows += [
        (row, *(told(metric, found[row][each]) for each in there), "")
        for row in ("mean", "worst")
    ]
    yield Card(
        "What would a model of its own give each client?",
        f"By {metric}, on examples that no model was chosen or trained by. Tuned: the "
        f"global model after {found['steps']} steps on the client's own examples; "
        "personal: the global model with the share of that training that does best on "
        "other examples of the client's.",
        head=("client", *there, "share"),
        rows=tuple(rows),
        opened=True,
        wide=True,
    )
