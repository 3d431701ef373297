"""Optuna's samplers, made from the settings of a search; what Optuna would refuse or notice too late is refused."""

import inspect
import logging
import warnings
from functools import cache
from typing import TYPE_CHECKING, Any

from raysl.errors import UserError, choices, dotted, quoted
from raysl.search.settings import SearchSettings

if TYPE_CHECKING:
    import optuna

log = logging.getLogger(__name__)

MOST_OF_AN_OPTION = 10_000  # upper bound of a sampler's option: more candidates or parents would take all memory
SEEDED = "seed"
EXHAUSTIVE = ("BruteForceSampler", "GridSampler")  # they stop the study at the end, which ask and tell do not support


class SamplerError(UserError):
    """A sampler's settings that Optuna does not take.

    path: of the key below `search`.  problem: the message without it.
    """

    def __init__(self, problem: str, *option: str) -> None:
        self.path, self.problem = ("sampler", *option), problem
        super().__init__(f"{dotted(self.path)}: {problem}")


def build_sampler(settings: SearchSettings) -> "optuna.samplers.BaseSampler":
    """Return Optuna's sampler for the settings.

    Raises SamplerError if Optuna does not know its name or an option.
    """
    from optuna import samplers

    given = dict(settings.sampler)
    name = given.pop("name", None)
    every: dict[str, Any] = {name: getattr(samplers, name) for name in samplers.__all__}
    kinds = {name: kind for name, kind in every.items() if inspect.isclass(kind) and _has_seed(kind)}
    for exhaustive in EXHAUSTIVE:
        kinds.pop(exhaustive, None)
    if str(name) not in kinds:
        raise SamplerError(f"{quoted(name)} is no sampler; {choices(str(name), kinds)}", "name")
    known = inspect.signature(kinds[name]).parameters
    for option in given:
        if option not in known or option == SEEDED:
            trouble = "is search.seed" if option == SEEDED else f"is no option of {name}"
            raise SamplerError(f"{trouble}; {choices(option, known.keys() - {SEEDED})}", option)
        _check_type(option, given[option], known[option].annotation)
    try:
        with warnings.catch_warnings(record=True) as complaints:
            warnings.simplefilter("always")
            kind: Any = kinds[name]
            sampler: samplers.BaseSampler = kind(**given, seed=settings.seed)
    except MemoryError:
        raise
    except Exception as error:  # each sampler raises its own classes of exceptions
        raise SamplerError(f"{name} does not take {quoted(given)}: {error}") from None
    for complaint in complaints:
        if issubclass(complaint.category, FutureWarning | DeprecationWarning):
            _warn_once(f"sampler: {name}: {complaint.message}")
    return sampler


@cache
def _warn_once(text: str) -> None:
    """Log a warning about something deprecated in Optuna, once: a search builds its sampler several times."""
    log.warning("%s", text)


def _check_type(option: str, value: Any, annotation: Any) -> None:
    """Refuse an option of the wrong type, which Optuna would notice only when there are results."""
    written = str(annotation)
    if "Callable" in written:
        raise SamplerError("is a function, which cannot be given here; leave it out", option)
    if isinstance(value, int) and abs(value) > MOST_OF_AN_OPTION:
        raise SamplerError(f"must be at most {MOST_OF_AN_OPTION:,}, not {quoted(value)}", option)
    words = {word.strip() for word in written.split("|")}
    if any("Base" in word or "FrozenTrial" in word or "ndarray" in word for word in words) and value is not None:
        raise SamplerError(f"is an object of {written}, which cannot be given here; leave it out", option)
    taken = {"bool": (bool,), "int": (int,), "float": (int, float), "str": (str,), "None": (type(None),)}
    if not words <= taken.keys():
        return
    kinds = tuple(kind for word in sorted(words) for kind in taken[word])
    if not isinstance(value, kinds) or (isinstance(value, bool) and "bool" not in words):
        raise SamplerError(f"must be {written}, not {quoted(value)}", option)


def _has_seed(kind: type) -> bool:
    return SEEDED in inspect.signature(kind).parameters
