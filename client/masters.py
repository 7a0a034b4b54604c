"""The weights that updates touch: a float32 master of each, and the way back.

Whatever the base computes in, updates are added up in float32: in bfloat16 a small
change would be rounded away. Where a weight is kept in float32 anyway, the master is
that weight; else the weight follows its master.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..aggregators import factors
from ..protocols.vectors import Floats

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn


class Masters:
    """Masters of some parameters.

    Args:
        parameters: by the names under which they travel, float32; each is taken out
            of its file's mapping.
    """

    def __init__(self, parameters: "Mapping[str, nn.Parameter]") -> None:
        self._parameters = dict(parameters)
        self._weights: dict[str, Floats] = {}
        for name, parameter in self._parameters.items():
            parameter.data = parameter.data.clone()
            self._weights[name] = parameter.data.numpy()
        self._origin = {name: value.copy() for name, value in self._weights.items()}

    def weights(self) -> dict[str, Floats]:
        """The weights as they are now: live views."""
        return dict(self._weights)

    def origin(self) -> dict[str, Floats]:
        """The base's own weights: not to be written to."""
        return dict(self._origin)

    def restore(self, words: "Mapping[str, NDArray[np.uint32]]") -> None:
        """The weights whose words differ from the base's own by an exclusive or."""
        for name, value in self._origin.items():
            np.copyto(
                self._weights[name],
                (value.view(np.uint32) ^ words[name]).view(np.float32),
            )
        self.settle()

    def reset(self) -> None:
        """Back to the base's own bytes."""
        for name, value in self._origin.items():
            np.copyto(self._weights[name], value)
        self.settle()

    def fold(self, update: Mapping[str, Floats]) -> None:
        """Add an update: factors by module (scaling 1), dense changes by name."""
        weights = dict(self._weights)
        factors.fold(weights, update)
        for name, value in weights.items():
            if value is not self._weights[name]:
                np.copyto(self._weights[name], value)
        self.settle()

    def settle(self) -> None:
        """Round the masters to the weights that are not kept in float32."""
        with torch.no_grad():
            for name, parameter in self._parameters.items():
                if parameter.dtype != torch.float32:
                    parameter.copy_(torch.from_numpy(self._weights[name]))
