"""Rounding that can be trained through: a forward pass as of integers, a backward pass as of reals.

With ``v = clip(x / s, low, high)`` a tensor becomes ``round(v) * s``. Backward, rounding counts as
the identity, so that ``x`` has gradient 1 inside the clip and 0 outside, and the scale ``s`` has
``round(v) - x / s`` inside and ``low`` or ``high`` outside. Zero points are fixed: codes here are
counted from them.

Sources: Esser et al. 2020, arXiv:1902.08153, eq. (1) to (3) and section 2.2 (learned step size and
the size of its gradient); Jain et al. 2020, arXiv:1903.08066 (scales trained as logarithms, so
that they stay positive and a step of the optimizer is a ratio).
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from edgepack.quantization.pair_law import lawful_scales
from edgepack.quantization.scales import orders_of_k

_TINY = float(np.finfo(np.float32).tiny)
_SHRUNK = 61
"""Clips that are tried for a weight: from the largest entry down to 0.4 of it, in hundredths."""


def rounded(x: Tensor) -> Tensor:
    """Round half to even, as ONNX QuantizeLinear; the gradient passes as it is."""
    return x + (torch.round(x) - x).detach()


class Scale(nn.Module):
    """A positive float32 number, or one per channel, learned as octaves from where it starts."""

    initial: Tensor

    def __init__(self, initial: Tensor, limit: int, entries: int) -> None:
        """Start at ``initial``.

        Args:
            initial: Positive, shape ``()`` or ``(channels,)``.
            limit: Largest code.
            entries: Numbers that share a scale; of activations, those of one sample.
        """
        super().__init__()
        self.register_buffer("initial", initial.float().clone(), persistent=False)
        self.octaves = nn.Parameter(torch.zeros_like(self.initial))
        self._share = 1 / math.sqrt(max(entries, 1) * limit)

    def forward(self) -> Tensor:
        """Return the scale."""
        octaves: Tensor = _Damped.apply(self.octaves, self._share)  # type: ignore[no-untyped-call]
        return self.initial * torch.exp2(octaves)


class _Damped(torch.autograd.Function):
    """The identity, whose gradient is smaller by a factor."""

    @staticmethod
    def forward(ctx: "torch.autograd.function.FunctionCtx", x: Tensor, share: float) -> Tensor:
        ctx.share = share  # type: ignore[attr-defined]
        return x.view_as(x)

    @staticmethod
    def backward(
        ctx: "torch.autograd.function.FunctionCtx", gradient: Tensor
    ) -> tuple[Tensor, None]:
        return gradient * ctx.share, None  # type: ignore[attr-defined]


class FakeQuant(nn.Module):
    """A Q/DQ pair of an activation, its scale learned and its zero point fixed."""

    def __init__(
        self, scale: float, zero_point: int, kind: np.dtype[np.integer], entries: int = 1
    ) -> None:
        """Start from what calibration found, for codes of type ``kind``."""
        super().__init__()
        info = np.iinfo(kind)
        self.zero_point = zero_point
        self._low, self._high = info.min - zero_point, info.max - zero_point
        self.scale = Scale(torch.tensor(scale), int(info.max), entries)

    def quantize(self, x: Tensor) -> Tensor:
        """Return codes, counted from the zero point."""
        return rounded(torch.clamp(x / self.scale(), self._low, self._high))

    def restore(self, codes: Tensor) -> Tensor:
        """Return the reals that codes stand for."""
        restored: Tensor = codes * self.scale()
        return restored

    def forward(self, x: Tensor) -> Tensor:
        """Do both."""
        return self.restore(self.quantize(x))


@dataclass(frozen=True, slots=True)
class WeightRule:
    """How a weight becomes codes.

    Attributes:
        limit: Largest code: 127 for 8 bits, 63 for 7, 7 for 4.
        per_channel: Whether each output channel has its own scale.
        lawful: Whether the scale is the smallest that keeps the pair law, and not learned.
    """

    limit: int
    per_channel: bool
    lawful: bool


class WeightQuant(nn.Module):
    """A weight behind a DequantizeLinear; in float64, so that codes are those of the writer."""

    def __init__(self, weight: Tensor, axis: int, rule: WeightRule) -> None:
        """Start from the scale of least squared error.

        Args:
            weight: What is quantized first.
            axis: Of output channels.
            rule: How.
        """
        super().__init__()
        self.axis, self.rule = axis, rule
        self._channels = weight.shape[axis]
        if not rule.lawful:
            rows = weight.detach().double().movedim(axis, 0).flatten(1)
            rows = rows if rule.per_channel else rows.reshape(1, -1)
            start = _nearest(rows, rule.limit)
            start = start if rule.per_channel else start[0]
            self.learned = Scale(start, rule.limit, rows.shape[1])

    def scale(self, weight: Tensor, least: Tensor) -> Tensor:
        """Return the scale of each channel, float32, shape ``(channels,)``.

        Args:
            weight: As it is now.
            least: Lower bounds, float64; see ``quantization.scales.least_scales``.
        """
        found = self._lawful(weight) if self.rule.lawful else self.learned().double()
        return torch.maximum(found.expand(self._channels), least).float()

    def forward(self, weight: Tensor, scale: Tensor) -> Tensor:
        """Return ``weight`` as codes of ``scale`` stand for it."""
        shape = [-1 if a == self.axis else 1 for a in range(weight.ndim)]
        scale = scale.double().reshape(shape)
        limit = self.rule.limit
        codes = rounded(torch.clamp(weight.double() / scale, -limit, limit))
        return (codes * scale).float()

    def _lawful(self, weight: Tensor) -> Tensor:
        exact = weight.detach().cpu().double().numpy()
        scales: npt.NDArray[np.float64] = lawful_scales(orders_of_k(exact, self.axis))
        scales = scales if self.rule.per_channel else scales.max(keepdims=True)
        return torch.from_numpy(scales).to(weight.device)


def rounded_bias(bias: Tensor, weight_scale: Tensor, input_scale: Tensor) -> Tensor:
    """Return ``bias`` as int32 codes of the product of both scales stand for it.

    The scales have no gradient by it: one code is far below what they are learned from.

    Source: Jacob et al. 2018, arXiv:1712.05877, eq. (11), as in ``quantization.writer``.
    """
    product = weight_scale.detach().double() * input_scale.detach().double()
    scale = torch.clamp(product, min=_TINY).float().double().reshape(bias.shape)
    info = torch.iinfo(torch.int32)
    return (torch.clamp(rounded(bias.double() / scale), info.min, info.max) * scale).float()


def _nearest(rows: Tensor, limit: int) -> Tensor:
    """Return for each row the scale whose rounding has the least squared error."""
    top = rows.abs().amax(1) / limit
    best, least = top, torch.full_like(top, math.inf)
    for shrunk in range(_SHRUNK):
        scale = torch.clamp(top * (1 - shrunk / 100), min=_TINY).float().double()
        codes = torch.clamp(torch.round(rows / scale[:, None]), -limit, limit)
        error = (codes * scale[:, None] - rows).square().sum(1)
        best = torch.where(error < least, scale, best)
        least = torch.minimum(error, least)
    return best
