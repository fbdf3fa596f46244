"""Fraction of samples whose label is among the five classes of the highest scores."""

from typing import ClassVar

from edgepack.data.answers import Labels, Outputs, Reals, hits


class Top5:
    """Labels are class numbers: one per sample, or one per position, then averaged per sample."""

    name: ClassVar[str] = "top5"
    lower_is_better: ClassVar[bool] = False
    needs_labels: ClassVar[bool] = True

    def per_sample(self, outputs: Outputs, labels: Labels) -> Reals:
        """Return 1 where the label was found and 0 elsewhere, shape ``(n,)``."""
        return hits(outputs, labels, best=5)

    def score(self, outputs: Outputs, labels: Labels) -> float:
        """Return the mean over samples."""
        return float(self.per_sample(outputs, labels).mean())
