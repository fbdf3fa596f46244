"""Mean squared error of the first output against labels of the same shape."""

from typing import ClassVar

import numpy as np

from edgepack.data.answers import Labels, Outputs, Reals, errors


class Mse:
    """Elements of a sample are averaged first, then samples."""

    name: ClassVar[str] = "mse"
    lower_is_better: ClassVar[bool] = True
    needs_labels: ClassVar[bool] = True

    def per_sample(self, outputs: Outputs, labels: Labels) -> Reals:
        """Return the mean squared error of each sample, shape ``(n,)``."""
        return np.array([np.square(error).mean() for error in errors(outputs, labels)])

    def score(self, outputs: Outputs, labels: Labels) -> float:
        """Return the mean over samples."""
        return float(self.per_sample(outputs, labels).mean())
