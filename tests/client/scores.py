"""What a classifier says of texts."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from fedelta.client import models
from fedelta.client.classification import Classification
from fedelta.protocols.settings import Config


def predict(
    base: models.Base, texts: Sequence[str], config: Config
) -> npt.NDArray[np.float64]:
    """[texts, classes] log-probabilities of the model as it is now."""
    assert isinstance(base.network, Classification)
    return base.network.predict(texts, config.train)
