"""The one display of a running search: live on a terminal, a line per event elsewhere."""

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TextIO, cast, get_args

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from raysl.console.outcome_text import outcome_text
from raysl.console.progress import note
from raysl.console.remaining_time import RemainingTime, duration_text
from raysl.console.repeated import Repeated
from raysl.console.trial_places import folds_text, is_sure, places_of, stage_text, trial_text
from raysl.outgoing.streams import Guarded
from raysl.results.records.rows import Status, TrialRow
from raysl.results.records.stages import Member, SelectionRecord, StageRecord
from raysl.results.storage.store import Store
from raysl.search.code import OtherCode
from raysl.search.config_means import by_config, compared_value, drop_text, params_text, standing_of
from raysl.search.race import Drop, Standing
from raysl.search.rules import RULES
from raysl.search.selection import is_tie
from raysl.training.paths import log_path

MOST_RUNNING_SHOWN = 8
MOST_DROPS_SHOWN = 8  # of a round of a race
MINUTE = 60.0  # seconds between two lines about a search's progress, where there is no terminal
ENDED_OTHERWISE = [status for status in get_args(Status) if status != "finished"]


class Display:
    """Shows a search while it runs; an Observer of it."""

    def __init__(self, console: Console, store: Store, *, many: bool = False) -> None:
        """Show a search on a console.

        many: whether several experiments are searched, so that stages need longer names.
        """
        self.console, self.store, self.many = console, store, many
        self.live: Live | None = None
        self.records: Sequence[StageRecord] = ()
        self.members: dict[str, tuple[StageRecord, Member]] = {}  # by trial, also of a fold
        self.rows: dict[str, TrialRow] = {}
        self.running: dict[str, str] = {}
        self.total, self.left = 0, RemainingTime()
        self.note = ""
        self.selected: set[str] = set()
        self.configs: dict[str, dict[str, list[Member]]] = {}  # by stage
        self.values: dict[str, dict[str, float | None]] = {}  # what is compared; another thread draws the best
        self.tied: set[str] = set()  # stages whose tie has been reported
        self.minutes = Repeated(MINUTE, self._say_progress)

    def __enter__(self) -> "Display":
        if self.console.is_terminal:
            self.live = Live(self, console=self.console, refresh_per_second=4, transient=True)
            self.live.start()
            # Other output is printed above the display, with its own colours.
            sys.stdout, sys.stderr = (cast(TextIO, Guarded(stream)) for stream in (sys.stdout, sys.stderr))
        else:
            self.minutes.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.minutes.stop()
        if self.live is not None:
            self.live.stop()

    def stages_started(self, records: Sequence[StageRecord], rows: Mapping[str, TrialRow], todo: int) -> None:
        """Stages begin, all at the same time."""
        self.records, self.rows, self.running = records, dict(rows), {}
        self.members = places_of(records)
        self.total, self.left, self.note = todo + len(rows), RemainingTime(), ""
        self.configs = {record.stage_id: by_config(record) for record in records} if todo else {}
        self.values = {record.stage_id: {} for record in records}
        for record in records if todo else ():
            for config_id in self.configs[record.stage_id]:
                self._compare(record, config_id)
            if record.race is not None:
                self._forget_dropped(record)
        taken = f", {len(rows)} taken from {self.store}" if rows else ""
        known = dict.fromkeys(self._stage(record) for record in records)
        names = Text(", ").join(Text(name, "bold") for name in known)
        stages = "stages" if len(known) > 1 else "stage"
        text = Text.assemble(f"{stages} ", names, f": {self.total} trials, {todo} to train{taken}")
        self.console.print(text, soft_wrap=True)

    def config_proposed(self, record: StageRecord) -> None:
        """An adaptive search has one more config."""
        self.records = [record if other.stage_id == record.stage_id else other for other in self.records]
        configs = by_config(record)
        config_id, new = list(configs.items())[-1]
        self.members |= {member.trial_id: (record, member) for member in new}
        self.configs[record.stage_id][config_id] = new
        self._line(f"{self._stage(record)}: config {len(configs)}: {params_text(new[-1].params)}")

    def grid_extended(self, record: StageRecord, values: Mapping[str, float]) -> None:
        """Values were added beyond ends of a grid."""
        old = next(old for old in self.records if old.stage_id == record.stage_id)
        self.records = [record if other.stage_id == record.stage_id else other for other in self.records]
        self.members |= {member.trial_id: (record, member) for member in record.members}
        self.configs[record.stage_id] = by_config(record)
        num_new = len(record.members) - len(old.members)
        self.total += num_new
        text = f"the best is at an end of its grid: {params_text(values)} added, {num_new} more trials"
        self.console.print(f"{self._stage(record)}: {text}", markup=False, soft_wrap=True)

    def race_decided(self, record: StageRecord, drops: Sequence[Drop], num_saved: int) -> None:
        """A round of a race has ended."""
        self.records = [record if other.stage_id == record.stage_id else other for other in self.records]
        self.members |= {member.trial_id: (record, member) for member in record.members}
        self.configs[record.stage_id] = by_config(record)
        self.total -= num_saved
        for config_id in self.configs[record.stage_id]:
            self._compare(record, config_id)
        standing = self._forget_dropped(record)
        params = {member.config_id: params_text(member.params) for member in record.members}
        texts = [f"dropped ({params[drop.config_id]}): {drop_text(record, drop)}" for drop in drops[:MOST_DROPS_SHOWN]]
        texts += [f"dropped {len(drops) - MOST_DROPS_SHOWN} more"] if len(drops) > MOST_DROPS_SHOWN else []
        if standing.remaining and record.race is not None and record.race.num_configs is None:
            left, seeds = len(standing.remaining), standing.num_seeds[standing.remaining[0]]
            texts.append(f"{left} of {len(params)} configs go on to {seeds} seeds")
        for text in texts:
            self.console.print(f"{self._stage(record)}: {text}", markup=False, soft_wrap=True)

    def folds_ended(self, record: StageRecord, config_id: str) -> None:
        """The config that is chosen by its folds is about to be trained with all labels."""
        text = folds_text(record, self.configs[record.stage_id][config_id], self.rows)
        self.console.print(f"{self._stage(record)}: {text}", markup=False, soft_wrap=True)

    def _forget_dropped(self, record: StageRecord) -> Standing:
        """Compare no more what a stage's race has dropped, and return how it stands."""
        standing = standing_of(record, self.rows)
        self.values[record.stage_id] |= dict.fromkeys(standing.dropped)
        return standing

    def noted(self, text: str) -> None:
        """A choice was made that the user has not asked for and may not expect."""
        note(self.console, text)

    def cluster_starting(self, at_most: float | None) -> None:
        """Ray is about to start; the command ends if it has not started after `at_most` seconds."""
        self.note = "starting Ray"
        self._line("starting Ray ..." if at_most is None else f"starting Ray, for {at_most / 60:g} min at most ...")

    def trial_started(self, trial_id: str) -> None:
        """A trial begins, or begins again."""
        self.note = ""
        self.running[trial_id] = "starting"
        self.left.started(trial_id, self.members[trial_id][0].stage_id)

    def trial_progressed(self, trial_id: str, epoch: int, epochs: int, loss: float) -> None:
        """A trial has finished an epoch."""
        self.running[trial_id] = f"epoch {epoch + 1}/{epochs}, loss {loss:.4g}"
        self.left.progressed(trial_id, (epoch + 1) / epochs)

    def trial_ended(self, row: TrialRow) -> None:
        """A trial is done."""
        self.running.pop(row.trial_id, None)
        self.left.ended(row.trial_id, whole=row.status == "finished" and row.weights_of is None)
        self.rows[row.trial_id] = row
        record, member = self.members[row.trial_id]
        if self.configs:
            record = next(one for one in self.records if one.stage_id == record.stage_id)  # with its latest configs
            self._compare(record, member.config_id)
        place = f"; log: {self.store.address(log_path(row.trial_id))}" if row.status == "failed" else ""
        how = f"{row.seconds:.1f} s" if row.weights_of is None else f"weights of trial {row.weights_of}"
        text = f"{self._name(row.trial_id)} {row.status}: {outcome_text(row, record)} ({how}){place}"
        if row.status == "finished":
            self._line(f"[{len(self.rows)}/{self.total}] {text}")
        else:
            self.console.print(text, style="yellow", markup=False)
        self._say_tie(record)

    def stage_selected(self, record: StageRecord, selection: SelectionRecord) -> None:
        """A stage's config is chosen."""
        self.running = {}
        if record.stage_id in self.selected:
            return  # several experiments share the stage
        self.selected.add(record.stage_id)
        chosen = (
            ("selected ", (params_text(selection.params), "bold")) if selection.config_id else ("nothing selected",)
        )
        stage = (self._stage(record), "bold")
        self.console.print(Text.assemble("stage ", stage, ": ", *chosen, f": {selection.reason}"))

    def other_code(self, found: OtherCode, again: bool) -> None:
        """Trials were made by other code than the code that runs."""
        does = "they are trained again" if again else "`--retrain code` trains them again"
        self.console.print(f"{found}; {does}", style="yellow", markup=False, soft_wrap=True)

    def weights_shared(self, num_trials: int) -> None:
        """So many trials are not trained, for others have their weights."""
        self.console.print(
            f"not trained, only measured, because other trials have the same weights: {num_trials} of these",
            markup=False,
            soft_wrap=True,
        )

    def models_lost(self, num_trials: int) -> None:
        """Trials are about to be trained again, because their models are missing."""
        self.note = f"training {num_trials} trials again for models that are gone; their numbers stay"
        self._line(f"{self.note} ...")

    def scoring_started(self, num_trials: int) -> None:
        """Trials are about to be scored on the test set."""
        self.note = f"scoring {num_trials} selected trials on the test set"
        self._line(f"{self.note} ...")

    def other_search(self, who: str) -> None:
        """Another search uses the results folder."""
        text = f"another search ({who}) is on this folder; what it trains is not trained here"
        self.console.print(text, style="yellow", markup=False)

    def waiting(self, what: str) -> None:
        """The search can do nothing until `what` has come."""
        text = f"waiting for {what}"
        if text != self.note:
            self.note = text
            self.console.print(text, style="yellow", markup=False)

    def __rich__(self) -> Group:
        if not self.records:
            return Group(Text(self.note))
        done = len(self.rows)
        bar = Table.grid(padding=(0, 1))
        name = self._stage(self.records[0]) if len(self.records) == 1 else f"{len(self.records)} stages"
        bar.add_row(name, ProgressBar(total=self.total, completed=done, width=30), self._counts())
        lines = [Text(f"  {self._name(i)}  {state}", style="dim") for i, state in self.running.items()]
        best = [Text(f"  best so far: {text}")] if (text := self._best()) else []
        return Group(bar, *best, *lines[:MOST_RUNNING_SHOWN], Text(self.note, style="dim"))

    def _counts(self) -> str:
        statuses = [row.status for row in list(self.rows.values())]  # another thread may draw it
        parts = [f"{len(statuses)}/{self.total} done", f"{len(self.running)} running"]
        parts += [f"{n} {status}" for status in ENDED_OTHERWISE if (n := statuses.count(status))]
        return ", ".join(parts) + self._time_left()

    def _time_left(self) -> str:
        left = [i for i in list(self.members) if i not in self.rows and i not in self.running]
        waiting = Counter(self.members[i][0].stage_id for i in left if is_sure(i, self.members[i][1]))
        # Of configs that are not proposed yet, and of the one that folds will select.
        waiting[self.records[0].stage_id] += self.total - len(self.members) + len(left) - waiting.total()
        seconds = self.left.seconds(waiting)
        return "" if seconds is None else f", about {duration_text(seconds)} left"

    def _best(self) -> str:
        if len(self.records) > 1 or not self.configs:
            return ""
        record = self.records[0]
        rule, values = RULES[record.rule], dict(self.values[record.stage_id])
        configs = self.configs[record.stage_id]
        known = {i: value for i in list(configs) if (value := values.get(i)) is not None}
        if not known:
            return ""
        best = (max if rule.highest else min)(known, key=known.__getitem__)
        return f"{params_text(configs[best][0].params)}, {rule.words} {known[best]:.6g}"

    def _say_progress(self) -> None:
        if self.running:
            self._line(self._counts())

    def _say_tie(self, record: StageRecord) -> None:
        """Print, once for a stage, that all its configs so far tie."""
        rule = RULES[record.rule]
        values = [value for value in self.values[record.stage_id].values() if value is not None]
        if record.stage_id not in self.tied and is_tie(values, rule):
            self.tied.add(record.stage_id)
            where = f"{self._stage(record)}: " if len(self.records) > 1 else ""
            text = f"all {len(values)} configs so far tie in {rule.words}, {values[0]:.6g}"
            self.console.print(f"{where}{text}: nothing can be chosen by that", style="yellow", markup=False)

    def _compare(self, record: StageRecord, config_id: str) -> None:
        members, race = self.configs[record.stage_id][config_id], record.race
        # Configs that are proposed one by one have unlike seeds until they have all.
        is_short = race is not None and race.num_configs is not None and len(members) < len(race.seeds)
        value = None if is_short else compared_value(record, members, self.rows)
        self.values[record.stage_id][config_id] = value

    def _name(self, trial_id: str) -> str:
        record, member = self.members[trial_id]
        stage = f"{self._stage(record)} " if len(self.records) > 1 else ""
        return f"{stage}{trial_text(trial_id, member)}"

    def _stage(self, record: StageRecord) -> str:
        """Return the name of a stage; with several experiments, with the experiment and its data."""
        if not self.many:
            return record.stage
        return stage_text(record)

    def _line(self, text: str) -> None:
        if self.live is None:
            self.console.print(text, markup=False)
