"""What an earlier start of a suite measured, and which of it stands."""

from collections.abc import Sequence
from pathlib import Path

from edgepack.base.errors import DataError, RequestError
from edgepack.bench import record
from edgepack.bench.baseline import MACHINE
from edgepack.bench.measure import facts
from edgepack.bench.series import Cell, File, digest
from edgepack.bench.suite import Task


def load(path: Path) -> tuple[Cell, ...]:
    """Return the cells that were stored; none where no file is yet.

    Raises:
        RequestError: Something else is there, and would be lost.
    """
    if not path.exists():
        return ()
    try:
        return record.read(path, File, "suite's", "").cells
    except DataError as error:
        raise RequestError("E-EXISTS", str(error), hint="choose another -o") from error


def match(tasks: Sequence[Task], cells: Sequence[Cell]) -> list[Cell | None]:
    """Return the finished cell of each task, None where it is to be measured.

    A cell stands for the same model, byte by byte, on the same device, asked for in the same way;
    of what this machine measured, the machine and its runtime must be the same as well.
    """
    machine = {key: facts()[key] for key in MACHINE}
    digests = {path: digest(path) for path in {each.path for each in tasks}}

    def stands(task: Task, cell: Cell) -> bool:
        asked = (task.model, task.device, task.scenario, task.threads, task.shape)
        measured = (cell.model, cell.device, cell.scenario, cell.threads, cell.shape)
        if asked != measured or not cell.finished or cell.sha256 != digests[task.path]:
            return False
        here = cell.result
        return here is None or {key: here.machine.get(key) for key in MACHINE} == machine

    return [next((each for each in cells if stands(task, each)), None) for task in tasks]
