"""F1, the harmonic mean of precision and recall: binary for two classes, else macro."""

from typing import ClassVar

import numpy as np

from edgepack.data.answers import Array, Evidence, Labels, Outputs, decided, evidence


class F1:
    """Counts are pooled over all positions of all samples.

    A single probability or two class scores: F1 of class 1. More classes: the mean of the F1 of
    every class that occurs in the labels (macro).
    """

    name: ClassVar[str] = "f1"
    lower_is_better: ClassVar[bool] = False
    needs_labels: ClassVar[bool] = True

    def evidence(self, outputs: Outputs, labels: Labels) -> Evidence:
        """Return decisions and labels, with the number of classes as a second column."""
        return evidence(outputs, labels, _decisions)

    def rate(self, values: Array, truth: Array) -> float:
        """Return F1; a class never decided for counts 0."""
        decisions, classes = values[:, 0], int(values[:, 1].max())
        found = np.bincount(truth[decisions == truth], minlength=classes)
        total = np.bincount(decisions, minlength=classes) + np.bincount(truth, minlength=classes)
        each = 2 * found / np.maximum(total, 1)  # 2 TP / (2 TP + FP + FN)
        return float(each[[1] if classes == 2 else np.unique(truth)].mean())

    def score(self, outputs: Outputs, labels: Labels) -> float:
        """Return F1 over all samples."""
        found = self.evidence(outputs, labels)
        return self.rate(found.values, found.truth)


def _decisions(rows: Array) -> Array:
    decisions = decided(rows)
    return np.stack([decisions, np.full_like(decisions, max(2, rows.shape[1]))], axis=1)
