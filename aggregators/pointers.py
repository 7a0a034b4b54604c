"""Arrays from addresses, asking the cache for what will be read, bits, wide vectors.

For compiled loops alone; whoever calls them holds on to what an address is of.
"""

from typing import Any

import numba
from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import cgutils, types
from numba.extending import intrinsic

carray: Any = numba.carray  # type: ignore[attr-defined]
_intrinsic: Any = intrinsic
_declared: Any = cgutils.get_or_insert_function
_tuple: Any = types.UniTuple


@_intrinsic  # type: ignore[untyped-decorator]
def pointer(context: Any, address: Any) -> Any:  # noqa: ARG001
    """An address as what `carray` takes."""

    def emit(context: Any, builder: Any, signature: Any, given: Any) -> Any:  # noqa: ARG001
        return builder.inttoptr(given[0], cgutils.voidptr_t)

    return types.voidptr(address), emit


@_intrinsic  # type: ignore[untyped-decorator]
def fetch(context: Any, address: Any) -> Any:  # noqa: ARG001
    """Ask for the cache line at an address, whatever lies there, and go on."""

    def emit(context: Any, builder: Any, signature: Any, given: Any) -> Any:  # noqa: ARG001
        word = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [cgutils.voidptr_t, word, word, word])
        loop = _declared(builder.module, kind, "llvm.prefetch.p0")
        pointer = builder.inttoptr(given[0], cgutils.voidptr_t)
        builder.call(loop, [pointer, word(0), word(2), word(1)])
        return context.get_dummy_value()

    return types.void(address), emit


@_intrinsic  # type: ignore[untyped-decorator]
def lowest(context: Any, word: Any) -> Any:  # noqa: ARG001
    """The place of the lowest bit that is set in a word that is not 0."""

    def emit(context: Any, builder: Any, signature: Any, given: Any) -> Any:  # noqa: ARG001
        return builder.cttz(given[0], ir.Constant(ir.IntType(1), 1))

    return types.uint64(types.uint64), emit


@_intrinsic  # type: ignore[untyped-decorator]
def compared(_context: Any, _at: Any, _low: Any, _high: Any, _tops: Any) -> Any:
    """Which of 64 words from an address on reach two bounds, as two words of bits.

    Sign bits are not looked at. The largest is kept in the 16 words at `tops`, of every
    16th word each.
    """

    def emit(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        word, lanes = ir.IntType(32), ir.VectorType(ir.IntType(32), 16)
        pair = ir.IntType(64)

        def every(value: Any) -> Any:
            return ir.Constant(lanes, [value] * 16)

        def spread(value: Any) -> Any:
            one = builder.insert_element(every(ir.Undefined), value, word(0))
            return builder.shuffle_vector(one, every(ir.Undefined), every(0))

        place, low, high, tops = given
        bounds = [spread(low), spread(high)]
        held = builder.inttoptr(tops, lanes.as_pointer())
        top = builder.load(held, align=4)
        found = [pair(0), pair(0)]
        for part in range(4):
            at = builder.add(place, place.type(64 * part))
            words = builder.load(builder.inttoptr(at, lanes.as_pointer()), align=4)
            words = builder.and_(words, every(0x7FFFFFFF))
            top = builder.select(builder.icmp_signed(">", words, top), words, top)
            for which, bound in enumerate(bounds):
                bits = builder.icmp_signed(">=", words, bound)
                bits = builder.zext(builder.bitcast(bits, ir.IntType(16)), pair)
                bits = builder.shl(bits, pair(16 * part))
                found[which] = builder.or_(found[which], bits)
        builder.store(top, held, align=4)
        return context.make_tuple(builder, signature.return_type, found)

    result = _tuple(types.uint64, 2)
    return result(types.int64, types.int32, types.int32, types.int64), emit


@_intrinsic  # type: ignore[untyped-decorator]
def ones(context: Any, word: Any) -> Any:  # noqa: ARG001
    """How many bits are set in a word."""

    def emit(context: Any, builder: Any, signature: Any, given: Any) -> Any:  # noqa: ARG001
        return builder.ctpop(given[0])

    return types.uint64(types.uint64), emit


@_intrinsic  # type: ignore[untyped-decorator]
def wide(_context: Any) -> Any:
    """Have the function around this use the longest vectors that the machine has.

    Left alone, loops of 64-bit words are made for vectors half as long.
    """

    def emit(context: Any, builder: Any, _signature: Any, _given: Any) -> Any:
        said = '"prefer-vector-width"="512"'
        set.add(builder.function.attributes, said)  # llvmlite knows fewer
        return context.get_dummy_value()

    return types.void(), emit
