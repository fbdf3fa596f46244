"""Train a float network once, to weights.pt and vocabulary.txt: python train.py [bilstm]."""

import sys
import time
from pathlib import Path

import data  # type: ignore[import-not-found]  # the file beside this one
import model as networks  # type: ignore[import-not-found]
import torch
from torch.nn import functional

from edgepack.data.samples import open_dataset
from edgepack.spec.signature import Signature, TensorSpec
from edgepack.training.material import part

EPOCHS = 5
BATCH = 64
PEAK = 0.002  # of the learning rate
SELECTION = (
    0.2  # of the training mails, as in small.toml: what selects there is not trained on here
)


def main(network: str = "model") -> None:
    """Train with one thread, so that the weights repeat."""
    torch.set_num_threads(1)
    face = Signature((TensorSpec("tokens", "int64", ("batch", data.LENGTH)),), ())
    mails = part(open_dataset(data.training, face, labelled=True), SELECTION, seed=0).fit
    model = getattr(networks, f"make_{network}")().train()
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.01)
    steps = EPOCHS * -(-len(mails) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK, total_steps=steps)
    began = time.monotonic()
    for epoch in range(EPOCHS):
        for rows in torch.split(torch.randperm(len(mails)), BATCH):
            batch, labels = mails.batch(rows)
            loss = functional.cross_entropy(model(**batch)["scores"], labels)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
        spent = time.monotonic() - began
        print(f"epoch {epoch + 1}/{EPOCHS}, loss {float(loss.detach()):.3f}, {spent:.0f} s")
    folder = Path(__file__).parent
    torch.save(model.eval().state_dict(), folder / "weights.pt")
    (folder / "vocabulary.txt").write_text("".join(f"{word}\n" for word in data.vocabulary()))


if __name__ == "__main__":
    main(*sys.argv[1:])
