"""The small language: what is read, what is refused and where the caret stands."""

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedelta.protocols.errors import ConfigError
from fedelta.protocols.grammar import Call, Value, bind, parse


def values() -> st.SearchStrategy[Value]:
    names = st.from_regex(r"[a-z_][a-z0-9_]{0,6}", fullmatch=True).filter(
        lambda name: name not in {"true", "false"}
    )
    plain: st.SearchStrategy[Value] = (
        st.integers(-(10**15), 10**15)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(max_size=8)
        | st.booleans()
        | st.none()
    )
    return st.recursive(
        plain,
        lambda inner: (
            st.lists(inner, max_size=3).map(tuple)
            | st.builds(
                Call,
                names,
                st.lists(inner, max_size=2).map(tuple),
                st.dictionaries(names, inner, max_size=2),
            )
        ),
        max_leaves=8,
    )


@given(st.lists(values(), max_size=3).map(lambda some: Call("f", tuple(some))))
def test_what_is_written_is_read(call: Call) -> None:
    assert parse(str(call)) == call


@given(st.text(alphabet="ab1.(),=|[]'\" -e", max_size=30) | st.text(max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        call = parse(text)
    except ConfigError:
        return
    assert parse(str(call)) == call


def test_forms() -> None:
    assert parse(" fedavg ") == Call("fedavg")
    assert parse("fedavg()") == Call("fedavg")
    assert parse("a|b|c").args == (Call("a"), Call("b"), Call("c"))
    assert parse("pipe(a | b, c)") == Call(
        "pipe", (Call("pipe", (Call("a"), Call("b"))), Call("c"))
    )
    assert parse("a(1e-3, -2, [1, 2], (3,), (4), x=None)") == Call(
        "a", (0.001, -2, (1, 2), (3,), 4), {"x": None}
    )
    assert parse("grouped(fedavg, by='region')").kwargs == {"by": "region"}


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("", 0),
        ("ties(density=)", 13),
        ("ties(density=0.2", 16),
        ("ties(0.2))", 9),
        ("a(x=1, 2)", 7),
        ("a(x=1, x=2)", 7),
        ("a(x == 2)", 5),
        ("a $ b", 2),
        ("a(1e999)", 2),
        ("__import__('os').system", 16),
    ],
)
def test_refused_with_a_caret(text: str, column: int) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    reason, shown, caret = str(caught.value).split("\n")
    assert reason
    assert shown[2:] == text
    assert caret.index("^") - 2 == column


def test_bounded() -> None:
    with pytest.raises(ConfigError, match="nested deeper"):
        parse("a(" * 500)
    with pytest.raises(ConfigError, match="at most"):
        parse("a" * 5000)


def scaled(by: float, *, times: int = 1, name: str = "") -> float:
    return by * times


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "scaled": scaled,
    "pipe": lambda *some: some,
}


def test_bound() -> None:
    assert bind(parse("scaled(0.5, times=4)"), FUNCTIONS) == 2
    assert bind(parse("scaled(1) | scaled(scaled(2))"), FUNCTIONS) == (1, 2)
    assert bind(parse("pipe([scaled(1), 3])"), FUNCTIONS) == ((1, 3),)
    assert math.isclose(bind(parse("scaled(by=1e-1)"), FUNCTIONS), 0.1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("scald(1)", "did you mean 'scaled'"),
        ("scaled(1, tmes=2)", "did you mean 'times'"),
        ("scaled()", "missing a required argument: 'by'"),
        ("scaled(1, 2)", "too many positional"),
        ("scaled('1')", "by is '1', expected float"),
        ("scaled(True)", "by is True, expected float"),
        ("scaled(1, times=1.5)", "times is 1.5, expected int"),
        ("scaled(scaled)", "missing a required"),
    ],
)
def test_not_bound(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        bind(parse(text), FUNCTIONS)
    assert said in str(caught.value)


def test_no_pipe() -> None:
    with pytest.raises(ConfigError, match="no meaning"):
        bind(parse("scaled(1) | scaled(2)"), {"scaled": scaled})
