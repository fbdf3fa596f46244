"""Fraction of samples with the same decision as the float model."""

from typing import ClassVar

import numpy as np

from edgepack.data.answers import Labels, Outputs, Reals, answers, class_rows, decided


class Agreement:
    """Needs no labels: the float model's own outputs take their place.

    The decision is the class of the highest score; of a single probability, whether it is above
    a half. Positions of a sample are averaged first.
    """

    name: ClassVar[str] = "agreement"
    lower_is_better: ClassVar[bool] = False
    needs_labels: ClassVar[bool] = False

    def per_sample(self, outputs: Outputs, labels: Labels) -> Reals:
        """Return 1 where the decisions are the same and 0 elsewhere, shape ``(n,)``."""
        pairs = zip(answers(outputs), labels, strict=True)
        return np.array(
            [(decided(class_rows(a)) == decided(class_rows(b))).mean() for a, b in pairs]
        )

    def score(self, outputs: Outputs, labels: Labels) -> float:
        """Return the mean over samples."""
        return float(self.per_sample(outputs, labels).mean())
