from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from edgepack.base.errors import ModelError, RequestError
from edgepack.compress import apply
from edgepack.compress.prune_channels import PruneChannels
from edgepack.spec import target
from edgepack.spec.decode import decode
from edgepack.training.channels import Aim, prune, to_aim
from edgepack.training.groups import Importance
from edgepack.training.penalty import group_norm, rho
from tests.modules import StripesNet, context, made


class Wide(StripesNet):
    def __init__(self) -> None:
        super().__init__(32)


def pruned(step: PruneChannels, module: nn.Module, folder: Path) -> tuple[nn.Module, list[str]]:
    found, _record, said = apply(step, "prune_channels", module, context(folder, module))
    return found, list(said)


def widths(module: nn.Module) -> list[int]:
    return [len(m.weight) for m in module.modules() if isinstance(m, nn.Conv2d | nn.Linear)]


def test_the_three_measures_are_those_of_their_formulas() -> None:
    weight = torch.tensor([-3.0, 0.5, 0.0])
    assert rho(weight, "l1", 1.0).tolist() == [3.0, 0.5, 0.0]
    assert rho(weight, "l2", 1.0).tolist() == [9.0, 0.25, 0.0]
    assert rho(weight, "huber", 1.0).tolist() == [2.5, 0.125, 0.0]
    assert float(group_norm(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))) == pytest.approx(5 * 2**0.5)


@pytest.mark.parametrize("importance", ["l1", "l2", "huber"])
def test_half_of_the_channels_go_and_residual_depthwise_and_norm_follow(
    importance: str, tmp_path: Path
) -> None:
    module = made(Wide)
    step = decode(PruneChannels, {"importance": importance, "fraction": 0.5}, "step")
    fitted = step.fit(target.load("x86_64", target.BUILT_IN))
    assert isinstance(fitted, PruneChannels)
    found, said = pruned(fitted, module, tmp_path)
    assert widths(found) == [16, 16, 16, 2]
    assert widths(module) == [32, 32, 32, 2]
    assert found(torch.zeros(3, 1, 8, 8))["scores"].shape == (3, 2)
    assert "of the MACs" in said[-1]


def test_the_channels_that_stay_are_the_important_ones(tmp_path: Path) -> None:
    torch.manual_seed(0)
    first = nn.Conv2d(1, 4, 3, padding=1)
    module = nn.Sequential(first, nn.ReLU(), nn.Flatten(), nn.Linear(256, 2)).eval()
    with torch.no_grad():
        first.weight[1:3] *= 100
    found, _ = pruned(PruneChannels(fraction=0.5, round_to=1), module, tmp_path)
    assert torch.equal(next(found.parameters()), first.weight[1:3])


def test_macs_are_brought_below_the_aim_in_blocks(tmp_path: Path) -> None:
    module = made(Wide)
    found, said = pruned(PruneChannels(macs=0.6, round_to=8), module, tmp_path)
    assert all(width % 8 == 0 for width in widths(found)[:-1])
    assert float(said[-1].split()[0]) <= 0.6


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(64, 64)
        self.b = nn.Linear(64, 64)
        self.b.weight = self.a.weight

    def forward(self, image: Tensor) -> Tensor:
        found: Tensor = self.b(self.a(image.flatten(1)))
        return found


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.memory = nn.LSTM(8, 8, batch_first=True)
        self.head = nn.Linear(8, 2)

    def forward(self, image: Tensor) -> Tensor:
        found: Tensor = self.head(self.memory(image[:, 0])[0][:, -1])
        return found


class Nothing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(1)

    def forward(self, image: Tensor) -> Tensor:
        found: Tensor = self.norm(image)
        return found


class OneLayer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(64, 2)

    def forward(self, image: Tensor) -> Tensor:
        return torch.softmax(self.head(image.flatten(1)), 1)


class Frozen(StripesNet):
    def __init__(self) -> None:
        super().__init__(32)
        for parameter in self.parameters():
            parameter.requires_grad = False


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (Shared, "'a.weight' and 'b.weight' are one tensor"),
        (Recurrent, "'memory' is a LSTM"),
        (Nothing, "no convolution or matrix"),
        (OneLayer, "no channel can be removed"),
        (Frozen, "every parameter of the module is frozen"),
    ],
)
def test_what_cannot_be_pruned_is_named(kind: type[nn.Module], said: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=said):
        pruned(PruneChannels(fraction=0.5, round_to=1), made(kind), tmp_path)


def test_a_frozen_layer_keeps_its_channels_and_stays_frozen(tmp_path: Path) -> None:
    module = made(Wide)
    module.head.requires_grad_(False)  # noqa: FBT003
    found, _ = pruned(PruneChannels(fraction=0.5, round_to=1), module, tmp_path)
    frozen = [name for name, p in found.named_parameters() if not p.requires_grad]
    assert frozen == ["head.weight", "head.bias"]


def test_an_excluded_layer_that_is_not_there_is_a_wrong_request(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no layer named 'heda'") as caught:
        pruned(PruneChannels(fraction=0.5, exclude=("heda",)), made(Wide), tmp_path)
    assert caught.value.hint == "did you mean 'head'?"


@pytest.mark.parametrize(
    "fields",
    [{}, {"fraction": 0}, {"fraction": 1}, {"macs": 1.0}, {"fraction": 0.5, "macs": 0.5}],
)
def test_an_aim_that_is_none_is_a_wrong_request(fields: dict[str, object]) -> None:
    with pytest.raises(RequestError):
        decode(PruneChannels, fields, "step prune_channels")


class Attention(nn.Module):
    """Four heads, whose queries, keys and values are made by one matrix each or all by one."""

    def __init__(self, *, fused: bool = False, parts: tuple[int, ...] = (4, -1)) -> None:
        super().__init__()
        self.enter, self.out, self.leave = nn.Linear(6, 64), nn.Linear(64, 64), nn.Linear(64, 2)
        self.fused = nn.Linear(64, 192) if fused else None
        self.split = nn.ModuleList() if fused else nn.ModuleList(nn.Linear(64, 64) for _ in "qkv")
        self.shape = parts

    def forward(self, tokens: Tensor) -> Tensor:
        hidden = torch.relu(self.enter(tokens))
        if self.fused is not None:
            query, key, value = self.fused(hidden).unflatten(2, (3, 4, -1)).permute(2, 0, 3, 1, 4)
        else:
            split = [matrix(hidden).unflatten(2, self.shape) for matrix in self.split]
            query, key, value = (part.transpose(1, 2) for part in split)
        read = ((query @ key.transpose(2, 3)).softmax(3) @ value).transpose(1, 2).flatten(2)
        scores: Tensor = self.leave((hidden + self.out(read)).mean(1))
        return scores


def biases(layers: nn.ModuleList) -> list[list[float]]:
    return [p.tolist() for name, p in layers.named_parameters() if name.endswith("bias")]


def cut(module: nn.Module, example: Tensor) -> list[str]:
    return list(prune(module, (example,), (), to_aim(Aim(0.5, None, 8), Importance("l2", 0.05))))


def test_every_head_loses_the_same_channels_of_queries_keys_and_values() -> None:
    torch.manual_seed(0)
    module = Attention().eval()
    before = biases(module.split)
    cut(module, torch.zeros(2, 5, 6))
    after = biases(module.split)
    stayed = [[a.index(x) for x in b] for a, b in zip(before, after, strict=True)]
    assert stayed[0] == stayed[1] == stayed[2]
    heads = [[place - 16 * h for place in stayed[0] if place // 16 == h] for h in range(4)]
    assert len(heads[0]) == 8
    assert heads == [heads[0]] * 4


def test_a_matrix_that_makes_queries_keys_and_values_at_once_stays_whole() -> None:
    module = Attention(fused=True).eval()
    said = cut(module, torch.zeros(2, 5, 6))
    assert module.fused is not None
    assert module.fused.weight.shape == (192, 32)
    assert module.out.weight.shape == (32, 64)
    assert any(sentence.startswith("enter: 64 -> 32") for sentence in said)


def test_the_inner_matrices_of_torch_encoders_go_and_their_attention_stays() -> None:
    layer = nn.TransformerEncoderLayer(64, 4, 128, batch_first=True)
    module = nn.Sequential(nn.Linear(6, 64), layer, nn.Linear(64, 2)).eval()
    said = cut(module, torch.zeros(2, 5, 6))
    assert said[:-1] == ["1.linear1: 128 -> 64 channels"]
    assert layer.self_attn.in_proj_weight.shape == (192, 64)


def test_a_shape_written_into_the_code_is_an_error_of_the_model() -> None:
    module = Attention(parts=(4, 16)).eval()
    with pytest.raises(ModelError, match="torch-pruning does not understand Attention"):
        cut(module, torch.zeros(2, 5, 6))
