"""Fraction of samples whose label is the class of the highest score."""

from typing import ClassVar

from edgepack.data.answers import Labels, Outputs, Reals, hits


class Top1:
    """Labels are class numbers: one per sample, or one per position, then averaged per sample."""

    name: ClassVar[str] = "top1"
    lower_is_better: ClassVar[bool] = False
    needs_labels: ClassVar[bool] = True

    def per_sample(self, outputs: Outputs, labels: Labels) -> Reals:
        """Return 1 where the label was found and 0 elsewhere, shape ``(n,)``."""
        return hits(outputs, labels, best=1)

    def score(self, outputs: Outputs, labels: Labels) -> float:
        """Return the mean over samples."""
        return float(self.per_sample(outputs, labels).mean())
