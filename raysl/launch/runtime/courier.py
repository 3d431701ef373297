"""Passes tasks to a group's workers. This module imports nothing that takes long, for Ray starts a process with it."""

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from raysl.launch.runtime.task_runner import Report


class Courier:
    """An actor that passes tasks, which are pickled, to the workers, and their reports back."""

    def __init__(self, num_workers: int) -> None:
        self.tasks: list[asyncio.Queue[bytes | None]] = [asyncio.Queue() for _ in range(num_workers)]
        self.told: asyncio.Queue[Report | None] = asyncio.Queue()
        self.num_busy = 0

    async def give(self, task: bytes | None) -> None:
        self.num_busy = len(self.tasks)
        for queue in self.tasks:
            queue.put_nowait(task)

    async def next(self, rank: int) -> bytes | None:
        return await self.tasks[rank].get()

    async def report(self, what: "Report") -> None:
        self.told.put_nowait(what)

    async def done(self) -> None:
        self.num_busy -= 1
        if self.num_busy == 0:
            self.told.put_nowait(None)

    async def come(self) -> "Report | None":
        return await self.told.get()
