"""The configs of a stage by two of the hyperparameters that it searched."""

from collections.abc import Sequence
from dataclasses import dataclass

from raysl.errors import UserError, choices
from raysl.reports.searched import Key, measure_of, measured, searched_keys, unmeasured_reason
from raysl.reports.stages import Row, Searched
from raysl.search.rules import RULES

Value = float | str
Place = tuple[Value, Value]  # of lines, of x
MOST_LINES = 10  # colours that there are


@dataclass(frozen=True, eq=False)
class Grid:
    """A stage's configs by two of its searched keys.

    x: the key along the axis.  lines: the key that has a line for each value.
    """

    stage: Searched
    x: Key
    lines: Key

    @property
    def has_more_keys(self) -> bool:
        """Whether configs differ in other hyperparameters too, so that a place may have several."""
        return len(searched_keys(self.stage)) > 2

    def place(self, config: Row) -> Place:
        """Return a config's values of lines and of x."""
        return self.lines.values[config["config_id"]], self.x.values[config["config_id"]]

    def cells(self, column: str) -> dict[Place, Row]:
        """Return the config at each place that has a mean of a column; of several, the one that the rule puts first."""
        assert self.stage.selection is not None, "only selected stages come here"
        rule = RULES[self.stage.selection["rule"]]
        sign = -1 if rule.highest else 1
        first: dict[Place, Row] = {}
        for config in sorted(measured(self.stage, rule.column), key=lambda one: sign * one[f"{rule.column}_mean"]):
            first.setdefault(self.place(config), config)
        return {place: config for place, config in first.items() if config[f"{column}_mean"] is not None}

    def columns(self, given: str | None) -> list[str]:
        """Return what is shown: what is asked for, or what the rule compares and the test accuracy, if all have it."""
        column = measure_of(self.stage, given)
        scored = not unmeasured_reason(self.stage, self.stage.metric.test)
        return [column, self.stage.metric.test] if given is None and scored else [column]


def levels(key: Key) -> list[Value]:
    """Return the distinct values of a key, in rising order."""
    return sorted(set(key.values.values()), key=lambda value: (isinstance(value, str), value))


def level_text(value: Value) -> str:
    """Return a value as it is written."""
    return f"{value:g}" if isinstance(value, float) else value


def grid(stage: Searched, x: str | None, lines: str | None) -> Grid:
    """Return the grid of two keys; where none is given, the one of more values is along the axis.

    x, lines: names, whole or as they are shown.
    Raises UserError where they are not two searched keys, or the lines are too many.
    """
    keys = sorted(searched_keys(stage), key=lambda key: len(levels(key)))
    if len(keys) < 2:
        raise UserError("fewer than two hyperparameters were searched")
    along, across = _named("--x", x, keys), _named("--lines", lines, keys)
    rest = [key for key in keys if key not in (along, across)]
    if len(keys) > 2 and (along is None or across is None):
        names = ", ".join(sorted(key.name for key in keys))
        raise UserError(f"--x and --lines are needed: more than two hyperparameters were searched: {names}")
    along, across = along or rest.pop(), across or rest.pop()
    if along is across:
        raise UserError(f"--x and --lines are both {along.name}")
    if (num_lines := len(levels(across))) > MOST_LINES:
        raise UserError(f"{num_lines} values of {across.name}, and there is room for {MOST_LINES} lines")
    found = Grid(stage, along, across)
    places = {found.place(config) for config in stage.configs}
    if len({line for line, _ in places}) == len(places):
        raise UserError(f"no two configs share a value of {across.name}, so there are no lines; slices show them")
    return found


def _named(option: str, name: str | None, keys: Sequence[Key]) -> Key | None:
    if name is None:
        return None
    found = next((key for key in keys if name in (key.name, key.column.removeprefix("params."))), None)
    if found is None:
        raise UserError(f"{option} {name}: not searched; {choices(name, [key.name for key in keys])}")
    return found
