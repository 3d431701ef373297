"""Losses and gradients of a step on a GPU, replayed as one CUDA graph.

A step of a small network is a thousand kernels that each take microseconds.  Python launches them more slowly than the
GPU computes them; a graph launches all of them at once, and gives the same numbers.
"""

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from raysl.methods._method import Losses, Step, View

log = logging.getLogger(__name__)

EAGER_STEPS = 3  # of each shape before it is recorded: kernels are chosen, and buffers made, in the first ones

Views = Mapping[str, View]
Compute = Callable[[Views, Step], Losses]


class WatchedStep(Step):
    """A step that notes that its number was read: a graph would repeat the number that it was recorded with."""

    read = False

    @property
    def number(self) -> int:
        return self._reading()[0]

    @property
    def total(self) -> int:
        return self._reading()[1]

    def __iter__(self) -> Iterator[int]:
        return iter(self._reading())

    def __getitem__(self, place: Any) -> Any:
        return self._reading()[place]

    def _reading(self) -> tuple[int, ...]:
        self.read = True
        return tuple(super().__iter__())


@dataclass(frozen=True)
class _Recorded:
    """A graph, the tensors that it reads, and those that it writes."""

    graph: torch.cuda.CUDAGraph
    views: Views
    losses: Losses
    gradients: Sequence[Tensor | None]

    def replay(self, views: Views) -> Losses:
        for name, view in views.items():
            for ours, given in zip(self.views[name], view, strict=True):
                if ours is not None and given is not None:
                    ours.copy_(given, non_blocking=True)
        self.graph.replay()
        return self.losses


class GraphedStep:
    """Computes a step's losses and gradients, by a graph for each shape of a batch.

    Shapes are computed eagerly at first.  If a step reads its number, or waits for the GPU, its Python code decides
    what is computed, so no step of this training is recorded.

    parameters: those that get gradients.  compute: a step's views -> its losses, after their backward pass.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], compute: Compute) -> None:
        self._parameters, self._compute = parameters, compute
        self._seen: dict[object, int] = {}
        self._recorded: dict[object, _Recorded] = {}
        self._records = True

    @property
    def num_graphs(self) -> int:
        """The number of graphs recorded so far."""
        return len(self._recorded)

    def __call__(self, views: Views, step: Step) -> Losses:
        """Set the gradients of the parameters, and return the losses without theirs, which the next step overwrites."""
        key = _shapes(views)
        if key not in self._recorded and self._records:
            done = self._seen.setdefault(key, 0)
            self._seen[key] += 1
            if done < EAGER_STEPS:
                return self._watched(views, step)
            self._record(key, views, step)
        if key not in self._recorded:
            return self._eager(views, step)
        recorded = self._recorded[key]
        losses = recorded.replay(views)
        for parameter, gradient in zip(self._parameters, recorded.gradients, strict=True):
            parameter.grad = gradient
        return losses

    def _eager(self, views: Views, step: Step) -> Losses:
        for parameter in self._parameters:
            parameter.grad = None
        return _detached(self._compute(views, step))

    def _watched(self, views: Views, step: Step) -> Losses:
        """Compute a step eagerly, and find out whether a graph may replay it."""
        watched = WatchedStep(*step)
        mode = torch.cuda.get_sync_debug_mode()
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                losses = self._eager(views, watched)
            finally:
                torch.cuda.set_sync_debug_mode(mode)
        waits = [str(warning.message) for warning in warned if "synchronizing" in str(warning.message)]
        if waits or watched.read or not _on_gpu(views):
            log.info("its steps are not recorded as CUDA graphs: their Python code decides what is computed")
            self._records = False
        return losses

    def _record(self, key: object, views: Views, step: Step) -> None:
        static = {name: _copied(view) for name, view in views.items()}
        for parameter in self._parameters:
            parameter.grad = None
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                losses = _detached(self._compute(static, step))
        except RuntimeError as error:
            log.warning("its steps are not recorded as CUDA graphs: %s", str(error).partition("\n")[0])
            self._records = False
            return
        self._recorded[key] = _Recorded(graph, static, losses, [parameter.grad for parameter in self._parameters])


def _shapes(views: Views) -> object:
    """Return what a graph is recorded for: a view of another shape or memory format needs another one."""
    return tuple(
        (name, *(None if part is None else (part.shape, part.stride(), part.dtype) for part in view))
        for name, view in views.items()
    )


def _copied(view: View) -> View:
    labels, drawn, rows = (None if part is None else part.clone() for part in view[1:])
    return View(view.images.clone(), labels, drawn, rows)


def _on_gpu(views: Views) -> bool:
    return all(part is None or part.is_cuda for view in views.values() for part in view)


def _detached(losses: Losses) -> Losses:
    """Return losses that do not keep the step's activations."""
    named = ({name: value.detach() for name, value in group.items()} for group in (losses.terms, losses.outputs))
    terms, outputs = named
    spread, confident = (None if value is None else value.detach() for value in (losses.spread, losses.confident))
    return Losses(losses.total.detach(), terms, spread, outputs, confident)
