"""What parcels between the root and its regions take, in the run's record.

What a client's own reply takes in a parcel is in its contribution; this is the rest:
updates, which travel once a region, and states.
"""

from typing import TYPE_CHECKING

from flwr.serverapp import Grid

from .trees import TreeGrid

if TYPE_CHECKING:
    from ..sessions import Session


def heads(grid: Grid) -> dict[str, str]:
    """By client, the region that it is behind."""
    if not isinstance(grid, TreeGrid):
        return {}
    found = {name: grid.head(name) for name in grid.routes}
    return {name: head for name, head in found.items() if head}


def tell(session: "Session", grid: Grid, number: int) -> None:
    """Record what parcels took since this was last told, and count it in."""
    if not isinstance(grid, TreeGrid) or not grid.tolls:
        return
    told = {head: {"down": d, "up": u} for head, (d, u) in sorted(grid.tolls.items())}
    grid.tolls.clear()
    session.totals.down += sum(one["down"] for one in told.values())
    session.totals.up += sum(one["up"] for one in told.values())
    session.record.add("traffic", round=number, what="regions", clients=told)
