"""Train the float network once and write ``weights.pt``: python train.py."""

import time
from pathlib import Path

import data  # type: ignore[import-not-found]  # the file beside this one
import model as networks  # type: ignore[import-not-found]
import torch
from torch.nn import functional

from edgepack.data.samples import open_dataset
from edgepack.spec.signature import Signature, TensorSpec
from edgepack.training.material import part

EPOCHS = 6
BATCH = 64
PEAK = 0.01  # of the learning rate
SELECTION = 0.2  # of the training images, as in small.toml: what selects there is not trained on


def main() -> None:
    """Train with one thread, so that the weights repeat."""
    torch.set_num_threads(1)
    face = Signature((TensorSpec("image", "float32", ("batch", 1, 28, 28)),), ())
    images = part(open_dataset(data.training, face, labelled=True), SELECTION, seed=0).fit
    model = networks.make_model().train()
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.01)
    steps = EPOCHS * -(-len(images) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK, total_steps=steps)
    began = time.monotonic()
    for epoch in range(EPOCHS):
        for rows in torch.split(torch.randperm(len(images)), BATCH):
            batch, labels = images.batch(rows)
            loss = functional.cross_entropy(model(**batch)["scores"], labels)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
        print(f"epoch {epoch + 1}/{EPOCHS}, loss {loss:.3f}, {time.monotonic() - began:.0f} s")
    torch.save(model.eval().state_dict(), Path(__file__).with_name("weights.pt"))


if __name__ == "__main__":
    main()
