"""Numbers of many elements side by side in words that are added modulo 2^64 or 2^32.

A *field* holds one non-negative number of each element, such as a count. What one
contribution may put there is bounded, so what all together may is bounded too, and the
field has that many bits: a sum never carries into its neighbour, and adding words adds
all fields. Each contribution is held to its part before it is packed, each sum to
the survivors' part after it is unpacked.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from .aborts import Abort, stop
from .errors import ConfigError

Words = npt.NDArray[Any]  # [k] uint64 or uint32
Numbers = npt.NDArray[np.uint64]  # [fields, n]

SIZES = (32, 64)


@dataclass(frozen=True, slots=True)
class Field:
    """One number of each element.

    Attributes:
        name: what it is.
        each: the most that one share may put there.
        heads: the most that one contribution may put there, whatever its shares.
    """

    name: str
    each: int = 0
    heads: int = 0

    def most(self, shares: int, members: int) -> int:
        """The most that so many members with so many shares put there together."""
        return self.each * shares + self.heads * members


@dataclass(frozen=True, slots=True)
class Group:
    """Fields that share words.

    Attributes:
        first: the first field.
        bits: of each field.
        each: how many elements a word holds.
    """

    first: int
    bits: tuple[int, ...]
    each: int

    def words(self, n: int) -> int:
        """How many words n elements take."""
        return -(-n // self.each)


@dataclass(frozen=True)
class Lanes:
    """How the fields of elements lie in words.

    Attributes:
        size: bits of a word, 32 or 64.
        fields: the numbers of an element.
        shares: all members' shares together.
        members: how many members there may be.

    Example:
        >>> lanes = Lanes(64, (Field("sum", 1 << 40), Field("count", heads=1)), 10, 4)
        >>> lanes.bits, lanes.words(1000)
        ((44, 3), 1000)
        >>> given = np.array([[5, 1 << 40], [1, 0]], np.uint64)
        >>> bool((lanes.unpack(lanes.pack(given, 1), 2, 10, 4) == given).all())
        True
    """

    size: int
    fields: tuple[Field, ...]
    shares: int
    members: int

    @cached_property
    def bits(self) -> tuple[int, ...]:
        """Bits of each field: enough for what all members put there together."""
        most = (one.most(self.shares, self.members) for one in self.fields)
        return tuple(max(1, one.bit_length()) for one in most)

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """Which fields share words, in order, as many as fit.

        Raises:
            ConfigError: a field has more bits than a word.
        """
        if self.size not in SIZES:
            raise ConfigError(f"a lane has 32 or 64 bits, not {self.size}")
        found: list[Group] = []
        first, held = 0, 0
        for place, bits in enumerate(self.bits):
            if bits > self.size:
                what = self.fields[place].name
                raise ConfigError(
                    f"the sums of {what!r} need {bits} bits, a lane has {self.size}: "
                    "take privacy.lane = 64, fewer clients or uniform weights"
                )
            if held + bits > self.size:
                found.append(Group(first, self.bits[first:place], self.size // held))
                first, held = place, 0
            held += bits
        found.append(Group(first, self.bits[first:], self.size // held))
        return tuple(found)

    @property
    def dtype(self) -> Any:
        """Of a word, little-endian."""
        return np.dtype(f"<u{self.size // 8}")

    def words(self, n: int) -> int:
        """How many words n elements take."""
        return sum(group.words(n) for group in self.groups)

    def pack(self, numbers: Numbers, share: int) -> Words:
        """One contribution's numbers [fields, n] as words.

        Raises:
            AbortError: LANE_RANGE, a number is more than a contribution may put there.
        """
        self._held(numbers, share, 1)
        parts = [self._packed(numbers, group) for group in self.groups]
        return np.concatenate(parts) if len(parts) > 1 else parts[0]

    def unpack(self, words: Words, n: int, shares: int, members: int) -> Numbers:
        """The numbers [fields, n] that words hold, of so many members.

        Raises:
            AbortError: LANE_RANGE, a number is more than they can have put there, so
                that somebody's words were no masked contribution.
        """
        if words.shape != (self.words(n),) or words.dtype != self.dtype:
            stop(Abort.LANE_RANGE, f"{words.size} words where {self.words(n)} belong")
        out = np.empty((len(self.fields), n), np.uint64)
        start = 0
        for group in self.groups:
            count = group.words(n)
            self._unpacked(words[start : start + count], group, out)
            start += count
        self._held(out, shares, members)
        return out

    def _held(self, numbers: Numbers, shares: int, members: int) -> None:
        for field, row in zip(self.fields, numbers, strict=True):
            most, found = field.most(shares, members), int(row.max(initial=0))
            if found > most:
                stop(
                    Abort.LANE_RANGE,
                    f"{field.name!r} holds a number above what {members} members with "
                    f"{shares} shares can have put there",
                )

    def _packed(self, numbers: Numbers, group: Group) -> Words:
        width, n = sum(group.bits), numbers.shape[1]
        count = group.words(n)
        one = np.zeros(count * group.each, np.uint64)
        for row, shift in _shifts(group):
            one[:n] |= numbers[row] << shift
        if group.each > 1:
            shifts = np.arange(group.each, dtype=np.uint64) * np.uint64(width)
            one = np.bitwise_or.reduce(one.reshape(count, group.each) << shifts, axis=1)
        return one.astype(self.dtype)

    def _unpacked(self, words: Words, group: Group, out: Numbers) -> None:
        width, n = sum(group.bits), out.shape[1]
        whole = words.astype(np.uint64)
        if group.each > 1:
            shifts = np.arange(group.each, dtype=np.uint64) * np.uint64(width)
            over = whole >> np.uint64(width * (group.each - 1))
            whole = (whole[:, None] >> shifts).reshape(-1)
        else:
            over = whole
        if width < self.size and (over >> np.uint64(width)).any():
            stop(Abort.LANE_RANGE, "something where nobody may put anything")
        bits: Sequence[int] = group.bits
        for (row, shift), wide in zip(_shifts(group), bits, strict=True):
            mask = np.uint64((1 << wide) - 1)
            out[row] = (whole[:n] >> shift) & mask


def _shifts(group: Group) -> list[tuple[int, np.uint64]]:
    """Each field of a group with where it lies in an element's bits."""
    found, at = [], 0
    for place, wide in enumerate(group.bits):
        found.append((group.first + place, np.uint64(at)))
        at += wide
    return found
