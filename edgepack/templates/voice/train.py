"""Teach the student what the teacher hears, and write ``weights.pt``: python train.py."""

import time
from pathlib import Path

import data  # type: ignore[import-not-found]  # the files beside this one
import model as networks  # type: ignore[import-not-found]
import numpy as np
import teacher  # type: ignore[import-not-found]
import torch
from torch import Tensor, nn
from torch.nn import functional

EPOCHS = 10
BATCH = 32
PEAK = 0.005  # of the learning rate
ALPHA = 0.5  # of the loss is the teacher's opinion, the rest the label's
CHUNK = 32  # frames judged in one sample


def main() -> None:
    """Train with one thread, so that the weights repeat."""
    model = taught(networks.make_model(), *chunks(), EPOCHS)
    torch.save(model.state_dict(), Path(__file__).with_name("weights.pt"))


def chunks() -> tuple[Tensor, Tensor]:
    """Return audio ``(n, (PAST + CHUNK) * FRAME)`` and wanted probabilities ``(n, CHUNK)``."""
    audio, wanted = [], []
    past = data.PAST * data.FRAME
    for sample, labels in data.training():
        audio.append(sample["audio"][0, past:])
        wanted.append(ALPHA * teacher.probabilities(audio[-1]) + (1 - ALPHA) * labels)
    whole = torch.from_numpy(np.concatenate([np.zeros(past, np.float32), *audio]))
    heard = whole.unfold(0, (data.PAST + CHUNK) * data.FRAME, CHUNK * data.FRAME)
    target = torch.from_numpy(np.concatenate(wanted).astype(np.float32))
    return heard, target.unfold(0, CHUNK, CHUNK)


def taught(model: nn.Module, audio: Tensor, wanted: Tensor, epochs: int) -> nn.Module:
    """Train under soft targets (Hinton et al. 2015, arXiv:1503.02531, here at temperature 1)."""
    torch.set_num_threads(1)
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.01)
    steps = epochs * -(-len(audio) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK, total_steps=steps)
    began = time.monotonic()
    for epoch in range(epochs):
        for rows in torch.split(torch.randperm(len(audio)), BATCH):
            level = 10 ** (torch.rand(len(rows), 1) * 1.5 - 1)  # -20 to +10 dB
            scores = model(audio[rows] * level)["scores"].reshape(-1, 2)
            spoken = wanted[rows].reshape(-1)
            loss = functional.cross_entropy(scores, torch.stack([1 - spoken, spoken], 1))
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
        spent = time.monotonic() - began
        print(f"epoch {epoch + 1}/{epochs}, loss {float(loss.detach()):.3f}, {spent:.0f} s")
    return model.eval()


if __name__ == "__main__":
    main()
