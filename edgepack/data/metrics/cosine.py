"""Mean cosine similarity of the first output to that of the float model."""

from typing import ClassVar

import numpy as np

from edgepack.data.answers import Labels, Outputs, Reals, answers, similarity


class Cosine:
    """Needs no labels: the float model's own outputs take their place."""

    name: ClassVar[str] = "cosine"
    lower_is_better: ClassVar[bool] = False
    needs_labels: ClassVar[bool] = False

    def per_sample(self, outputs: Outputs, labels: Labels) -> Reals:
        """Return the cosine of each sample, shape ``(n,)``."""
        pairs = zip(answers(outputs), labels, strict=True)
        return np.array([similarity(answer, label) for answer, label in pairs])

    def score(self, outputs: Outputs, labels: Labels) -> float:
        """Return the mean over samples."""
        return float(self.per_sample(outputs, labels).mean())
