"""What Hypothesis draws contributions and cohorts from."""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fedelta.aggregators.base import Member
from fedelta.protocols.vectors import Block, Floats, Layout, Span, TaskVector

SHAPES = {"empty": (0, 3), "head": (2, 5), "one": (1,), "wide": (7, 3)}

any_value = st.floats(-8, 8, width=32, allow_subnormal=False)
plain_value = st.one_of(  # many zeros and ties, none below fixed point's reach
    st.sampled_from([0.0, 1.0, -1.0, 0.5, -0.5]),
    st.integers(-4096, 4096).map(lambda n: n / 512),
)


class Sparse:
    """A task vector whose blocks name the places that are not zero."""

    def __init__(self, vector: TaskVector) -> None:
        self.vector = vector
        self.layout: Layout = vector.layout

    def block(self, span: Span) -> Block:
        """One span, its zeros left out."""
        whole = self.vector.block(span).values
        places = np.flatnonzero(whole)
        return Block(span.size, places.astype(np.uint16), whole[places])


@st.composite
def tensors(draw: st.DrawFn, values: st.SearchStrategy[float]) -> dict[str, Floats]:
    """Tensors of the shapes above, ties and zeros among them."""
    return {
        name: draw(hnp.arrays(np.float32, shape, elements=values))
        for name, shape in SHAPES.items()
    }


@st.composite
def cohorts(
    draw: st.DrawFn,
    largest: int = 5,
    values: st.SearchStrategy[float] = plain_value,
) -> list[Member]:
    """Members with shares on both sides of the packed planes' limit."""
    count = draw(st.integers(1, largest))
    most = draw(st.sampled_from([1, 20, 5000, 1 << 21]))
    members = []
    for place in range(count):
        vector = TaskVector.of(draw(tensors(values)))
        members.append(
            Member(
                f"client-{place}",
                Sparse(vector) if draw(st.booleans()) else vector,
                draw(st.integers(1, most)),
                draw(st.sampled_from(["north", "south"])),
            )
        )
    return members
