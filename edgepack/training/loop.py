"""The one training loop: CPU, one GPU or many processes, watched, interrupted and resumed.

Each epoch starts from seeds made of the step's own and the epoch's number, and the learning rate
is a function of the step. So weights and optimizer are the whole state, and training that goes on
from the checkpoint of an epoch gives the bytes of training that never stopped.
"""

import atexit
import functools
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from edgepack.base import units
from edgepack.base.errors import ModelError, RequestError
from edgepack.export.interface import Interface, named_outputs
from edgepack.training import checkpoint
from edgepack.training.checkpoint import Checkpoint, Progress
from edgepack.training.losses import Loss, Outputs
from edgepack.training.material import Batch, Parts
from edgepack.training.score import Judge
from edgepack.training.settings import Trained, rate_at

Objective = Callable[[Outputs, Batch, torch.Tensor], torch.Tensor]
"""Outputs of a batch, the batch, its labels -> what is made small."""

_SAY_EVERY = 20.0
"""Seconds between sentences inside an epoch."""


@dataclass(frozen=True, slots=True)
class Task:
    """What is trained, on what, and where it can be taken up again.

    Attributes:
        name: Of the step, in sentences and errors.
        interface: The module, and how to call it; its weights change.
        parts: Training data.
        judge: Scores the module on the selection split.
        checkpoint: File of this step's state.
        tell: Takes each sentence of progress.
    """

    name: str
    interface: Interface
    parts: Parts
    judge: Judge
    checkpoint: Path
    tell: Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a step adds to plain training.

    Attributes:
        objective: What is made small.
        after: Called after each step with the number of steps done and of all; holds masks.
        resumed: Called when a checkpoint was loaded.
        keep: ``best``: the weights with the best score, those before training included where
            ``first`` is 0; ``last``: the last ones.
        first: Epochs whose weights may not be kept.
    """

    objective: Objective
    after: Callable[[int, int], None] = lambda _done, _all: None
    resumed: Callable[[], None] = lambda: None
    keep: Literal["best", "last"] = "best"
    first: int = 0


def hard(loss: Loss) -> Objective:
    """Return the objective that looks at outputs and labels alone."""
    return lambda outputs, _batch, labels: loss(outputs, labels)


def train(task: Task, settings: Trained, plan: Plan) -> str:
    """Train the module of ``task`` in place and leave it in eval mode; return what happened.

    Raises:
        ModelError: Every parameter is frozen.
        RequestError: The loss is no finite number; the checkpoint keeps the last good weights.
    """
    module = task.interface.module
    if not any(parameter.requires_grad for parameter in module.parameters()):
        raise ModelError(
            "E-TRAIN-FROZEN",
            f"{task.name}: every parameter of the module is frozen",
            hint="requires_grad_() on what may be trained",
        )
    with _repeatable(settings.threads):
        run = _Run(task, settings, plan)
        while not run.progress.done:
            run.epoch()
        return run.finish()


class _Run:
    """A training under way."""

    def __init__(self, task: Task, settings: Trained, plan: Plan) -> None:
        self._task, self._settings, self._plan = task, settings, plan
        # said outright: without a GPU accelerate would take launched processes for single ones
        self._accelerator = Accelerator(cpu=not torch.cuda.is_available())
        self._module = task.interface.module
        self._optimizer = _optimizer(self._module, settings)
        self._prepared, self._prepared_optimizer = self._accelerator.prepare(
            self._module, self._optimizer
        )
        self._world = self._accelerator.num_processes
        if self._world > 1:
            _leave_at_exit()
        self._batch = settings.batch_size * self._world
        count = len(task.parts.fit)
        self._per_epoch = max(-(-count // self._batch), 1)
        self._steps = settings.epochs * self._per_epoch
        self._began = self._said = time.monotonic()
        self._resume()

    def _resume(self) -> None:
        task, found = self._task, checkpoint.read(self._task.checkpoint)
        if found is not None:
            self._module.load_state_dict(found.model)
            checkpoint.into_optimizer(self._optimizer, found.optimizer)
            self.progress, self._best = found.progress, found.best
            self._plan.resumed()
            done = found.progress.epoch
            task.tell(f"{task.name}: taken up after epoch {done}/{self._settings.epochs}")
        else:
            self.progress, self._best = Progress(), _copied(self._module)
            if self._plan.keep == "best" and self._plan.first == 0:
                self.progress = Progress(best=self._score())
        self._first = self.progress.epoch

    def epoch(self) -> None:
        """Train one epoch, score it, keep what is best, write the checkpoint."""
        loss = self._pass()
        score = self._score()
        before, judge = self.progress, self._task.judge
        epoch, settings = before.epoch + 1, self._settings
        eligible = epoch > self._plan.first
        better = eligible and (before.best is None or judge.better(score, before.best))
        if better:
            self._best = _copied(self._module)
        since = 0 if better or not eligible else before.since + 1
        self.progress = Progress(
            epoch=epoch,
            best=score if better else before.best,
            best_epoch=epoch if better else before.best_epoch,
            since=since,
            done=epoch == settings.epochs
            or (self._plan.keep == "best" and since >= settings.patience),
        )
        self._save()
        self._tell(f"loss {loss:.4g}, {judge.name} {score:.4f}{' (best)' if better else ''}")

    def _pass(self) -> float:
        """Take every step of one epoch; return the mean loss."""
        epoch, fit = self.progress.epoch, self._task.parts.fit
        generator = torch.Generator().manual_seed(_seed(self._settings.seed, epoch))
        order = torch.randperm(len(fit), generator=generator)
        torch.manual_seed(_seed(self._settings.seed, epoch) + 1)
        self._prepared.train()
        total = torch.zeros(())
        for index in range(self._per_epoch):
            rows = order[index * self._batch : (index + 1) * self._batch]
            if len(rows) < max(self._world, 2) and index:
                break  # batch norm has no variance of one sample
            total += self._step(rows, epoch * self._per_epoch + index) * len(rows)
        return float(total) / len(fit)

    def _step(self, rows: torch.Tensor, step: int) -> torch.Tensor:
        """Take one step on a batch, of which each process has its share."""
        rate = rate_at(self._settings, step, self._steps)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        share = rows.tensor_split(self._world)[self._accelerator.process_index]
        batch, labels = self._moved(share)
        outputs = self._outputs(self._prepared, batch)
        loss = self._plan.objective(outputs, batch, labels)
        if not torch.isfinite(loss.detach()):
            raise self._diverged(float(loss.detach()), step, rate)
        # processes average their gradients: shares of unequal size must weigh what they hold
        self._accelerator.backward(loss * (len(share) * self._world / len(rows)))
        if self._settings.clip:
            self._accelerator.clip_grad_norm_(self._prepared.parameters(), self._settings.clip)
        self._prepared_optimizer.step()
        self._prepared_optimizer.zero_grad()
        self._plan.after(step + 1, self._steps)
        if time.monotonic() - self._said > _SAY_EVERY:
            self._tell(f"step {step + 1}/{self._steps}, loss {float(loss.detach()):.4g}")
        return loss.detach().cpu()

    def _moved(self, rows: torch.Tensor) -> tuple[Batch, torch.Tensor]:
        batch, labels = self._task.parts.fit.batch(rows)
        device = self._accelerator.device
        return {name: tensor.to(device) for name, tensor in batch.items()}, labels.to(device)

    def _outputs(self, module: torch.nn.Module, batch: Batch) -> Outputs:
        interface = replace(self._task.interface, module=module)
        called = interface.call([batch[name] for name in interface.names])
        return named_outputs(called, interface.names)

    def _score(self) -> float:
        """Score the module; the first process decides for all."""
        self._module.eval()
        with torch.no_grad():
            found = [self._task.judge.score(lambda batch: self._outputs(self._module, batch))]
        if self._world > 1:
            broadcast_object_list(found)
        return found[0]

    def _save(self) -> None:
        state = Checkpoint(
            self.progress,
            self._module.state_dict(),
            self._best,
            checkpoint.of_optimizer(self._optimizer),
        )
        if self._accelerator.is_main_process:
            checkpoint.write(self._task.checkpoint, state)
        self._accelerator.wait_for_everyone()

    def finish(self) -> str:
        """Leave the kept weights in the module."""
        progress, judge = self.progress, self._task.judge
        if self._plan.keep == "best":
            self._module.load_state_dict(self._best)
        self._module.to("cpu").eval()
        self._module.zero_grad(set_to_none=True)
        if self._plan.keep == "last" or progress.best is None:
            return f"trained {progress.epoch} epochs"
        kept = f"epoch {progress.best_epoch}" if progress.best_epoch else "before training"
        return (
            f"trained {progress.epoch} epochs, kept {kept}: "
            f"{judge.name} {progress.best:.4f} on {judge.count} samples kept out for selection"
        )

    def _tell(self, what: str) -> None:
        task, epochs = self._task, self._settings.epochs
        now, done = time.monotonic(), self.progress.epoch
        left = ""
        if done > self._first:
            spent = (now - self._began) / (done - self._first)
            left = f", {units.duration(spent * (epochs - done))} left"
        self._said = now
        task.tell(f"{task.name}: epoch {done}/{epochs}, {what}{left}")

    def _diverged(self, loss: float, step: int, rate: float) -> RequestError:
        text = f"{self._task.name}: the loss is {loss} at step {step + 1}/{self._steps}"
        settings = self._settings
        remedy = f"learning_rate = {settings.learning_rate / 10:g}"
        remedy += "" if settings.clip else ", or clip = 1.0"
        return RequestError(
            "E-TRAIN-NAN",
            f"{text}, learning rate {rate:.3g}; the weights after epoch {self.progress.epoch} "
            "are kept" + (f" in {self._task.checkpoint}" if self.progress.epoch else ""),
            hint=remedy,
        )


@functools.cache
def _leave_at_exit() -> None:
    """Close the group of processes before Python ends: one that its threads outlive is aborted."""
    atexit.register(_leave)


def _leave() -> None:
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _optimizer(module: torch.nn.Module, settings: Trained) -> torch.optim.Optimizer:
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    rate, decay = settings.learning_rate, settings.weight_decay
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(trained, rate, weight_decay=decay)
    return torch.optim.SGD(trained, rate, momentum=0.9, weight_decay=decay)


def _copied(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in module.state_dict().items()}


def _seed(seed: int, epoch: int) -> int:
    return math.prod((seed + 1, 1_000_003)) + 2 * epoch


@contextmanager
def _repeatable(threads: int) -> Iterator[None]:
    """Fix what repeats to the byte, then give back what the caller had set."""
    before, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    with torch.random.fork_rng(devices=[]):
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(mode=True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(mode=strict)
            torch.set_num_threads(before)
