"""`raysl experiments`, `raysl new` and `raysl cluster-files`."""

import shutil
from dataclasses import asdict
from pathlib import Path

from raysl.config.packaged import packaged_experiments, packaged_files, packaged_folder, schema_file
from raysl.console.fitted_table import Column, print_table
from raysl.console.screen import screen, write_json
from raysl.errors import UserError, choices


def experiments(form: str) -> None:
    """List the packaged experiments and tables."""
    found = packaged_experiments()
    console = screen()
    if form == "json":
        write_json(console, [asdict(one) for one in found])
        return
    columns = [
        Column("name", left=True, key=True),
        Column("trials"),
        Column("epochs"),
        Column("what it is", left=True, least=30),
        Column("paper", left=True, spare=True, least=24),
        Column("profiles", left=True, spare=True, least=24),
    ]
    rows = [
        [one.name, _count(one.num_trials), _count(one.num_epochs), one.summary, one.paper, ", ".join(one.profiles)]
        for one in found
    ]
    print_table(console, "", columns, rows)
    console.print("raysl tune NAME searches one, raysl plan NAME says what it takes, raysl new NAME copies one.")
    console.print(
        "Trials and their epochs together are those without --profile; tables put the searches of experiments together."
    )


def _count(number: int | None) -> str:
    return "-" if number is None else f"{number:,}"


def new(name: str, output: Path | None) -> None:
    """Copy a packaged experiment, to edit it; its first line names the schema to editors."""
    files = packaged_files()
    if name not in files:
        raise UserError(f"{name}: no packaged experiment; {choices(name, files)}")
    if name.startswith("tables/"):
        raise UserError(
            f"{name}: a table file names experiments beside it; search it with --set and --cells, or copy "
            f"{packaged_folder('search_spaces')}"
        )
    target = output or Path(f"{name}.yaml")
    if target.is_dir():
        target = target / f"{name}.yaml"
    text = files[name].read_text(encoding="utf-8").replace(f"search_spaces/{name}.yaml", str(target))
    text = f"# yaml-language-server: $schema={schema_file().as_uri()}\n{text}"  # editors complete keys by it
    try:
        with target.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UserError(f"{target}: exists already; --output FILE takes another name") from None
    except OSError as error:
        raise UserError(f"{target}: cannot be written ({error.strerror or error})") from None
    screen().print(f"{target}: edit it, then `raysl tune {target}`", soft_wrap=True)


def cluster_files(folder: Path) -> None:
    """Copy the cluster files to a folder that does not exist yet."""
    try:
        shutil.copytree(packaged_folder("cluster"), folder)
    except FileExistsError:
        raise UserError(f"{folder}: exists already; the files go into a folder of their own") from None
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror or error})") from None
    screen().print(f"{folder}: begin with {folder / 'README.md'}", soft_wrap=True)
