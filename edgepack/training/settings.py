"""How a step trains: the fields that every ``[[compress]]`` step with training has."""

from math import cos, pi
from typing import Annotated, Literal

import msgspec

from edgepack.spec.step import Step

_Positive = Annotated[int, msgspec.Meta(ge=1)]
_Rate = Annotated[float, msgspec.Meta(gt=0, le=10)]


class Trained(Step, frozen=True):
    """A step that trains; a leaf adds what it is for.

    Attributes:
        epochs: Passes over the training data, at most.
        learning_rate: Its peak.
        batch_size: Samples per step and process.
        optimizer: AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101) or SGD with momentum 0.9.
        schedule: ``cosine``: linear warm-up, then half a cosine to 0 (Loshchilov and Hutter 2017,
            arXiv:1608.03983, eq. 5, one period); ``constant``: warm-up, then the peak.
        warmup: Fraction of all steps in which the rate rises.
        weight_decay: Decoupled for AdamW; added to the gradient for SGD.
        clip: Largest norm of all gradients together (Pascanu et al. 2013, arXiv:1211.5063); 0 is
            no limit.
        patience: Epochs without a better score on the selection split before it stops.
        selection: Fraction of the training data that selects the best weights and is not
            trained on.
        seed: Of the order of samples and of whatever the module draws.
        threads: CPU threads; sums of floats depend on how many share them, so this is part of
            what repeats to the byte.
    """

    epochs: _Positive = 10
    learning_rate: _Rate = 1e-3
    batch_size: _Positive = 64
    optimizer: Literal["adamw", "sgd"] = "adamw"
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.05
    weight_decay: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    clip: Annotated[float, msgspec.Meta(ge=0)] = 1.0
    patience: _Positive = 10
    selection: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.1
    seed: Annotated[int, msgspec.Meta(ge=0)] = 0
    threads: _Positive = 1


def rate_at(settings: Trained, step: int, steps: int) -> float:
    """Return the learning rate of ``step``, counted from 0, of ``steps`` in all."""
    rising = round(settings.warmup * steps)
    if step < rising:
        return settings.learning_rate * (step + 1) / rising
    if settings.schedule == "constant":
        return settings.learning_rate
    return settings.learning_rate * (1 + cos(pi * (step - rising) / (steps - rising))) / 2
