"""`raysl show`."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from raysl.commands.setting_up import prepare_data, resolve_data
from raysl.config import load
from raysl.console import report
from raysl.console.progress import progress
from raysl.console.screen import screen
from raysl.data.attack import attack_of, examples
from raysl.data.inspect import inspect
from raysl.data.settings import TrialData
from raysl.errors import DataError, ResultsError, UserError, choices
from raysl.results.stages import current_ids, read_stages
from raysl.results.store import Store
from raysl.search.summary import summarise_store
from raysl.search.trials import stage_data

PICTURE = Path("attack.png")
TABLE = report.FORMATS[0]


def show(
    target: str, form: str, attack: bool, output: Path | None, profile: str | None, overrides: Sequence[str]
) -> None:
    """Show a results folder as it is now, while a search runs on it too; or the attack on its labelled images."""
    if attack:
        _refuse({"--format": form if form != TABLE else None}, "the attack is shown as a picture and a table")
        _show_attack(target, output or PICTURE, profile, overrides)
        return
    _refuse({"--output": output, "--profile": profile, "--set": overrides}, "only with --attack")
    if form not in report.FORMATS:
        raise UserError(f"--format {form}: {choices(form, report.FORMATS)}")
    store = Store.open(target, create=False)
    tables = summarise_store(store)
    if tables.configs.num_rows == 0:
        raise ResultsError(f"{store.uri}: no search has been here; `raysl tune FILE --results {target}` starts one")
    report.show(tables, store.uri, form, screen())


def _show_attack(target: str, output: Path, profile: str | None, overrides: Sequence[str]) -> None:
    """Draw each attack of a results folder's current stages, or that of an experiment's YAML."""
    if output.suffix != ".png":
        raise UserError(f"--output {output}: a picture's name ends in .png")
    console = screen()
    if Path(target).suffix in (".yaml", ".yml") or Path(target).is_file():
        attacks = _attacks_of_file(Path(target), profile, overrides, console)
    else:
        _refuse({"--profile": profile, "--set": overrides}, "of an experiment's YAML, and this is a results folder")
        attacks = _attacks_of_results(target)
    for number, data in enumerate(attacks, start=1):
        path = output if number == 1 else output.with_stem(f"{output.stem}-{number}")
        _draw(data, path, console)


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
    attacked = [data for stage in experiment.stages if (data := stage_data(stage, datas)).attack]
    if not attacked:
        raise UserError(
            f"{experiment.place('data.attack')}: data.attack: nothing is attacked, for no stage sees labelled images"
        )
    return _distinct(attacked)


def _attacks_of_results(target: str) -> list[TrialData]:
    """Return the data of a folder's current attacked stages, once for each attack on the same images."""
    store = Store.open(target, create=False)
    stages = read_stages(store)
    current = current_ids(stages)
    found = [
        TrialData.model_validate(stage.data)
        for stage in stages
        if stage.stage_id in current and stage.data.get("attack")
    ]
    if not found:
        raise ResultsError(f"{store.uri}: nothing is attacked: no current stage has data.attack")
    return _distinct(found)


def _distinct(attacked: Sequence[TrialData]) -> list[TrialData]:
    found: dict[str, TrialData] = {}
    for data in attacked:
        found.setdefault(data.model_dump_json(exclude={"source", "labels", "draw", "unlabelled"}), data)
    return list(found.values())


def _draw(data: TrialData, path: Path, console: Console) -> None:
    from raysl.console import attack as picture  # matplotlib takes its time

    with progress(console) as tell:
        facts = inspect(data, progress=tell)
    if facts.digest != data.digest:
        raise DataError(f"{facts.path}: no longer the images and labels that were attacked")
    prepare_data(data, console)
    attack = attack_of(data)
    assert attack is not None, "only attacked data come here"
    title = picture.title(data)
    picture.table(title, facts.class_names, attack, console)
    try:
        picture.draw(title, facts.class_names, attack, examples(data, attack, picture.MOST_PAIRS), path)
    except OSError as error:
        raise UserError(f"--output {path}: {error.strerror}") from None
    console.print(f"picture: {path.absolute()}", markup=False, soft_wrap=True)
