"""What can go wrong, by whose fault it is, and what follows.

* FedeltaError
  + ConfigError         the run was asked for wrongly: stop before the first round
  + ContributionError   one client's reply is unusable: drop that reply, keep the round
    - PayloadError        bytes that do not decode, or decode to another layout
    - BoundsError         not finite, or larger than the round allows
    - StaleRoundError     an answer to a round, run or base that is not this one
  + RoundError          the round as a whole is unusable: keep the old model
    - QuorumError         too few contributions were left
    - BudgetError         one more release would exceed the privacy budget
  + CheckpointError     what is on disk cannot be resumed from
"""


class FedeltaError(Exception):
    """Base of every error this project raises on purpose."""


class ConfigError(FedeltaError):
    """The run was asked for wrongly; the message names the key and what is allowed."""


class ContributionError(FedeltaError):
    """One contribution is unusable.

    Args:
        reason: what is wrong with it, in one clause.
        tensor: the tensor at fault, where one is.
    """

    def __init__(self, reason: str, *, tensor: str | None = None) -> None:
        super().__init__(reason if tensor is None else f"{tensor}: {reason}")
        self.tensor = tensor


class PayloadError(ContributionError):
    """Bytes that do not decode, or decode to another layout."""


class BoundsError(ContributionError):
    """Not finite, or larger than the round allows."""


class StaleRoundError(ContributionError):
    """An answer to a round, a run or a base model that is not this one."""


class RoundError(FedeltaError):
    """The round as a whole is unusable."""


class QuorumError(RoundError):
    """Too few contributions were left to merge."""


class BudgetError(RoundError):
    """One more release would exceed the privacy budget."""


class CheckpointError(FedeltaError):
    """What is on disk cannot be resumed from; the message names the file and why."""
