"""Area under the ROC curve: how often a positive scores higher than a negative."""

from typing import ClassVar

import numpy as np

from edgepack.data.answers import Array, Evidence, Labels, Outputs, evidence, margin, parted


class Auc:
    """Labels are 0 or 1; positions of all samples are pooled; a tie counts a half.

    Of two class scores the difference is ranked. Source: Hanley and McNeil 1982 (the area is the
    Mann-Whitney statistic).
    """

    name: ClassVar[str] = "auc"
    lower_is_better: ClassVar[bool] = False
    needs_labels: ClassVar[bool] = True

    def evidence(self, outputs: Outputs, labels: Labels) -> Evidence:
        """Return scores for class 1 and labels."""
        return evidence(outputs, labels, margin, classes=2)

    def rate(self, values: Array, truth: Array) -> float:
        """Return the area, in [0, 1]; a ``DataError`` where all labels are the same."""
        positive, negative = parted(values, truth == 1)
        negative = np.sort(negative)
        below = np.searchsorted(negative, positive, "left").mean()
        below_or_equal = np.searchsorted(negative, positive, "right").mean()
        return float(below + below_or_equal) / 2 / len(negative)

    def score(self, outputs: Outputs, labels: Labels) -> float:
        """Return the area over all samples."""
        found = self.evidence(outputs, labels)
        return self.rate(found.values, found.truth)
