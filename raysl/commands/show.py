"""`raysl show`."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from shlex import quote

from pydantic import ValidationError
from rich.console import Console

from raysl import methods
from raysl.commands.setting_up import prepare_data, resolve_data
from raysl.config import load
from raysl.console import report
from raysl.console.progress import progress
from raysl.console.screen import screen
from raysl.data.arrays import load as load_arrays
from raysl.data.attack import attack_of, shown_images
from raysl.data.inspect import DataFacts, inspect
from raysl.data.settings import TrialData
from raysl.errors import DataError, ResultsError, UserError, choices
from raysl.results.rows import TrialRow, read_rows
from raysl.results.stages import current_ids, read_selections, read_stages
from raysl.results.store import Store
from raysl.results.tables import Tables
from raysl.search.code import other_code
from raysl.search.summary import summarise_store
from raysl.search.trials import stage_data
from raysl.training.paths import model_path
from raysl.training.spec import TrialSpec

ATTACK = "attack"
TABLE = report.FORMATS[0]


def show(
    target: str,
    form: str,
    attack: bool,
    diagnostic: str | None,
    output: Path | None,
    profile: str | None,
    overrides: Sequence[str],
) -> None:
    """Show a results folder as it is now, while a search runs on it too; or draw what it trained on, or learnt."""
    if attack or diagnostic is not None:
        _refuse({"--format": form if form != TABLE else None}, "what is shown is a picture")
        asked = "--mixing" if diagnostic == "mixing" else "--diagnostic"
        _refuse({asked: attack and diagnostic is not None}, "not with --attack")
        able = [] if diagnostic is None else _methods_with(diagnostic)
        path = output or Path(f"{ATTACK if diagnostic is None else diagnostic}.png")
        if path.suffix != ".png":
            raise UserError(f"--output {path}: a picture's name ends in .png")
        if diagnostic is None:
            _show_attack(target, path, profile, overrides)
        else:
            given = {"--profile": profile, "--set": overrides}
            _refuse(given, f"of an experiment's YAML; {asked} takes a results folder")
            _show_diagnostic(target, diagnostic, able, path)
        return
    _refuse({"--output": output}, "only with --attack, --diagnostic or --mixing")
    _refuse({"--profile": profile, "--set": overrides}, "only with --attack")
    if form not in report.FORMATS:
        raise UserError(f"--format {form}: {choices(form, report.FORMATS)}")
    store = Store.open(target, create=False)
    tables = summarise_store(store, curves=False)
    if tables.configs.num_rows == 0:
        raise ResultsError(
            f"{store}: no search has been here; `raysl tune FILE --results {quote(str(store))}` starts one"
        )
    console = screen()
    report.show(tables, str(store), form, console)
    if form in ("table", "markdown"):
        _say_other_code(store, tables, console)


def _say_other_code(store: Store, tables: Tables, console: Console) -> None:
    trained = read_rows(store, tables.current().trials["trial_id"].to_pylist())
    if (found := other_code(store, trained.values())).trial_ids:
        console.print(f"{found}; `raysl tune FILE --retrain code` trains them again", markup=False, soft_wrap=True)


def _show_attack(target: str, output: Path, profile: str | None, overrides: Sequence[str]) -> None:
    """Draw each attack of a results folder's current stages, or that of an experiment's YAML."""
    console = screen()
    if Path(target).suffix in (".yaml", ".yml") or os.path.isfile(target):
        attacks = _attacks_of_file(Path(target), profile, overrides, console)
    else:
        _refuse({"--profile": profile, "--set": overrides}, "of an experiment's YAML, and this is a results folder")
        attacks = _attacks_of_results(target)
    for data, path in zip(attacks, _numbered(output), strict=False):
        _draw_attack(data, path, console)


def _methods_with(diagnostic: str) -> list[str]:
    """Return the methods that have a diagnostic; UserError where none has."""
    having = {name: methods.describe(name).diagnostics for name in methods.names()}
    if able := [name for name, names in having.items() if diagnostic in names]:
        return able
    known = {name for names in having.values() for name in names}
    raise UserError(f"--diagnostic {diagnostic}: no method has it; {choices(diagnostic, known)}")


def _show_diagnostic(target: str, diagnostic: str, able: Sequence[str], output: Path) -> None:
    """Draw a diagnostic of the selected model, of its first seed, of each current stage whose method has it."""
    console = screen()
    store = Store.open(target, create=False)
    for (name, row), path in zip(_selected_trials(store, able), _numbered(output), strict=False):
        _draw_diagnostic(diagnostic, name, row, store, path, console)


def _selected_trials(store: Store, able: Sequence[str]) -> list[tuple[str, TrialRow]]:
    """Return the first selected trial of each current stage of some methods, with the stage's name; none twice.

    Raises ResultsError where there is none.
    """
    stages, selections = read_stages(store), read_selections(store)
    current = current_ids(stages)
    names: dict[str, str] = {}
    for stage in stages:
        selection = selections.get(stage.stage_id) if stage.stage_id in current else None
        if selection and selection.trial_ids:
            names.setdefault(selection.trial_ids[0], f"{stage.experiment}/{stage.stage}")
    found = [(names[trial_id], row) for trial_id, row in read_rows(store, names).items()]
    if wanted := [(name, row) for name, row in found if row.method in able]:
        return wanted
    others = ", ".join(f"{name} ({row.method})" for name, row in found)
    raise ResultsError(f"{store}: no stage of {' or '.join(able)} is selected here, but {others or 'nothing'}")


def _draw_diagnostic(diagnostic: str, name: str, row: TrialRow, store: Store, path: Path, console: Console) -> None:
    from raysl.console import diagnostic as picture  # matplotlib and torch take their time
    from raysl.training.diagnostics import diagnosed

    spec = _spec(row, store)
    _inspected(spec.data, "trained on", console)
    _check_version(spec, row, store)
    try:
        found = diagnosed(spec, store, diagnostic, picture.NUM_IMAGES)
    except FileNotFoundError:
        place = store.address(model_path(row.trial_id))
        raise ResultsError(f"{place}: not there; the search's command trains it anew") from None
    title = f"{name}, trial {row.trial_id} of seed {row.seed}: {found.title}"
    console.print(title, markup=False, soft_wrap=True)
    _drawn(lambda: picture.draw(title, found, path), path, console)


def _numbered(output: Path) -> Iterator[Path]:
    """Return the names of pictures: the first as it is, others with their number."""
    yield output
    for number in count(2):
        yield output.with_stem(f"{output.stem}-{number}")


def _refuse(options: Mapping[str, object], reason: str) -> None:
    for option, given in options.items():
        if given:
            raise UserError(f"{option}: {reason}")


def _attacks_of_file(file: Path, profile: str | None, overrides: Sequence[str], console: Console) -> list[TrialData]:
    experiment = load(file, profile, overrides)
    if all(stage.data.attack is None for stage in experiment.stages):
        raise UserError(
            f"{file}: data.attack: not given, so nothing is attacked; --set 'data.attack={{name: one_pixel}}' would"
        )
    datas = resolve_data(experiment, console)
    attacked = [data for stage in experiment.stages if (data := stage_data(experiment, stage, datas)).attack]
    if not attacked:
        raise UserError(
            f"{experiment.place('data.attack')}: data.attack: nothing is attacked, for no stage sees labelled images"
        )
    return _distinct(attacked)


def _spec(row: TrialRow, store: Store) -> TrialSpec:
    with _readable(store.address(f"rows/{row.trial_id}.parquet")):
        return TrialSpec.model_validate_json(row.spec)


def _check_version(spec: TrialSpec, row: TrialRow, store: Store) -> None:
    """Raise ResultsError where a trial's settings mean other numbers by now than those that it was trained for."""
    if spec.id != row.trial_id:
        place = store.address(f"rows/{row.trial_id}.parquet")
        raise ResultsError(f"{place}: of an earlier version of raysl; the search's command trains it anew")


def _attacks_of_results(target: str) -> list[TrialData]:
    """Return the data of a folder's current attacked stages, once for each attack on the same images."""
    store = Store.open(target, create=False)
    stages = read_stages(store)
    current = current_ids(stages)
    found = []
    for stage in stages:
        if stage.stage_id in current and stage.data.get("attack"):
            with _readable(store.address(f"stages/{stage.stage_id}.json")):
                found.append(TrialData.model_validate(stage.data))
            for row in list(read_rows(store, [member.trial_id for member in stage.members]).values())[:1]:
                _check_version(_spec(row, store), row, store)
    if not found:
        raise ResultsError(f"{store}: nothing is attacked: no current stage has data.attack")
    return _distinct(found)


@contextmanager
def _readable(place: str) -> Iterator[None]:
    """Turn pydantic's findings about what a results folder holds into a ResultsError that names the place."""
    try:
        yield
    except ValidationError as error:
        first = error.errors()[0]
        found = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise ResultsError(f"{place}: not what this raysl writes ({found})") from None


def _distinct(attacked: Sequence[TrialData]) -> list[TrialData]:
    found: dict[str, TrialData] = {}
    for data in attacked:
        found.setdefault(data.model_dump_json(exclude={"source", "labels", "draw", "unlabelled"}), data)
    return list(found.values())


def _draw_attack(data: TrialData, path: Path, console: Console) -> None:
    from raysl.console import attack as picture  # matplotlib takes its time

    facts = _inspected(data, "attacked", console)
    arrays = load_arrays(data)
    attack = attack_of(data, arrays)
    assert attack is not None, "only attacked data come here"
    title, (images, labels) = picture.title(data), shown_images(data, arrays)
    picture.table(title, facts.class_names, attack, images, labels, console)
    _drawn(lambda: picture.draw(title, facts.class_names, attack, images, labels, path), path, console)


def _inspected(data: TrialData, done: str, console: Console) -> DataFacts:
    """Return the facts of a trial's images, which are decoded then; DataError where they have changed since.

    done: what was done with them.
    """
    with progress(console) as tell:
        facts = inspect(data, progress=tell)
    if facts.digest != data.digest:
        raise DataError(f"{facts.path}: no longer the images and labels that were {done}")
    prepare_data(data, console)
    return facts


def _drawn(draw: Callable[[], None], path: Path, console: Console) -> None:
    try:
        draw()
    except OSError as error:
        raise UserError(f"--output {path}: {error.strerror}") from None
    console.print(f"picture: {path.absolute()}", markup=False, soft_wrap=True)
