"""Arrays from addresses, asking the cache for what will be read, and lowest bits.

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
