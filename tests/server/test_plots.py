"""Pictures: what the numbers say is what is drawn."""

import re

import pytest

from fedelta.server import plots
from fedelta.server.drawings import VARIABLES, sheet, styled, svg


def test_colours_become_variables() -> None:
    @styled
    def draw() -> str:
        figure, (axes,) = sheet(1.0)
        for place, colour in enumerate(VARIABLES):
            axes.barh(place, 1.0, color=colour)
        return svg(figure, "all", "every colour", "bars")

    text = draw()
    for variable in VARIABLES.values():
        assert f"var(--{variable})" in text


def test_a_description_is_escaped() -> None:
    figure, _ = sheet(1.0)
    text = svg(figure, "one", "a < b", "c & d")
    assert '<title id="one-title">a &lt; b</title>' in text
    assert "c &amp; d" in text


def test_the_style_does_not_leak() -> None:
    from matplotlib import rcParams

    before = rcParams["svg.fonttype"]
    plots.traffic(1, 2, 3)
    assert rcParams["svg.fonttype"] == before


def test_every_client_is_named() -> None:
    text = plots.by_client({"north": 0.4, "south": 0.7}, 0.6, "accuracy")
    assert {"north", "south", "+20.0", "-10.0"} <= set(
        re.findall(r">\s*([^<>]+?)\s*<", text)
    )


@pytest.mark.parametrize("count", [1, 2, 20])
def test_a_heat_map_of_any_size(count: int) -> None:
    names = [f"c{place}" for place in range(count)]
    matrix = [[None if i == j else -0.5 for j in range(count)] for i in range(count)]
    text = plots.heat(matrix, names, "cosine")
    assert text.count("var(--loss)") == count * (count - 1)


def test_a_metric_that_is_no_share_has_no_percent() -> None:
    text = plots.by_round([(0, 2.5), (1, 2.25)], {}, "loss")
    assert "2.250" in text
    assert "%" not in text.replace('width="100%"', "")


def test_no_axis_promises_more_than_all() -> None:
    text = plots.by_round([(0, 1.0), (1, 1.0)], {}, "accuracy")
    assert not re.findall(r"10[1-9] %", text)


def test_one_round_and_one_phase() -> None:
    assert "round 1" in plots.by_phase([(1, {"clients": 2.0})])


def test_layer_names_are_cut_to_what_differs() -> None:
    text = plots.by_layer({"m.0.q": (0.1, 0.2), "m.1.q": (0.1, 0.3)})
    assert re.search(r">\s*0\s*<", text)
    assert "m.1.q: cosine 0.10, conflict 30%" in text


def test_numbers_of_two_axes_keep_clear_of_each_other() -> None:
    """Negative cosines end their axis at 0, where the conflicts' axis begins."""
    text = plots.by_layer({f"m.{place}": (-0.1 * place, 0.4) for place in range(6)})
    found = re.findall(r'middle; [^>]* x="([\d.]+)"[^>]*>0\.00?<', text)
    left, right = map(float, found)
    assert right - left > 55, "28 of it are the halves of both numbers"
