"""The fuzzer: ``python -m tests.fuzz.run -max_total_time=60 CORPUS``.

Arguments are libFuzzer's. Needs atheris: ``pip install --group fuzz``.
"""

import sys

import atheris

# numba reads the bytecode of these, which must be as it was written.
COMPILED = ("integers", "kernels", "masks", "positions")

with atheris.instrument_imports(
    include=["fedelta"], exclude=[f"fedelta.protocols.{name}" for name in COMPILED]
):
    from tests.fuzz.targets import judge


def one(data: bytes) -> None:
    """One input."""
    judge(data)


def main() -> None:
    """Fuzz until told to stop, or until something does not hold."""
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
