"""Equal error rate: where as many positives are rejected as negatives are accepted."""

from typing import ClassVar

import numpy as np

from edgepack.data.answers import (
    Array,
    Evidence,
    Labels,
    Outputs,
    Reals,
    Truth,
    answers,
    evidence,
    margin,
    parted,
)


class Eer:
    """Verification: the rate at the threshold where both errors are equal, interpolated.

    A score, or two class scores, per sample with labels 0 and 1 (positions are pooled). An output
    of three and more values is an embedding: every pair of samples is scored by its cosine, and
    labels say who it is.
    """

    name: ClassVar[str] = "eer"
    lower_is_better: ClassVar[bool] = True
    needs_labels: ClassVar[bool] = True

    def evidence(self, outputs: Outputs, labels: Labels) -> Evidence:
        """Return scores and labels, or vectors of length 1 and who they are of."""
        first = next(iter(outputs[0].values()))
        if first.size <= 2 or labels[0].size > 1:
            return evidence(outputs, labels, margin, classes=2)
        vectors = np.stack([answer.ravel() for answer in answers(outputs)]).astype(np.float64)
        length = np.linalg.norm(vectors, axis=1, keepdims=True)
        vectors /= np.maximum(length, np.finfo(np.float64).tiny)
        who = np.concatenate([label.ravel() for label in labels])
        return Evidence(vectors, who, np.arange(len(who)))

    def rate(self, values: Array, truth: Array) -> float:
        """Return the rate, in [0, 1]; a ``DataError`` where all labels, or pairs, are alike."""
        return _equal_rate(*(_pairs(values, truth) if values.ndim > 1 else (values, truth == 1)))

    def score(self, outputs: Outputs, labels: Labels) -> float:
        """Return the rate over all samples, or over all pairs of them."""
        found = self.evidence(outputs, labels)
        return self.rate(found.values, found.truth)


def _pairs(vectors: Reals, who: Array) -> tuple[Reals, Truth]:
    """Score every pair; one of a sample with itself, as resampling makes them, shows nothing."""
    one, other = np.triu_indices(len(who), 1)
    cosines = (vectors @ vectors.T)[one, other]
    different = cosines < 1 - 1e-9
    return cosines[different], (who[one] == who[other])[different]


def _equal_rate(scores: Reals, truth: Truth) -> float:
    """Cross the two error curves; equal scores are accepted or rejected together."""
    positive, negative = parted(scores, truth)
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    accepted = np.cumsum(truth[order])[ends]
    missed = np.append(1.0, 1 - accepted / len(positive))
    fooled = np.append(0.0, (ends + 1 - accepted) / len(negative))
    after = int(np.argmax(fooled >= missed))
    gap = missed[after - 1] - fooled[after - 1]
    share = gap / (gap + fooled[after] - missed[after])
    return float(fooled[after - 1] + share * (fooled[after] - fooled[after - 1]))
