"""What clients keep for themselves of a finished run."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Personal:
    """[personal]: each client mixes the last global model with its own training.

    It happens on the client when it judges the last round's model, needs `eval.where`
    to be "clients" or "both", and nothing of it is told: the adapter, on top of the
    released model, and the chosen share stay in `personal` in its state of the run.

    Attributes:
        steps: of its own training, from the global model on; 0: none of all this.
        shares: of that training that are tried, beside 0, by what it keeps for
            validation.
    """

    steps: int = 0
    shares: tuple[float, ...] = (0.25, 0.5, 0.75, 1.0)
