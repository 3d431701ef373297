"""Homes, locks and replaced files."""

import os
import threading
import time
from pathlib import Path

import pytest

from raysl.data.storage.paths import data_home, exclusive, replacing
from raysl.errors import DataError


def test_data_home_is_the_given_folder_where_it_can_be_written_to(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert data_home() == cache / "data"
    monkeypatch.setenv("RAYSL_DATA", str(tmp_path / "not" / "yet"))
    assert data_home() == tmp_path / "not" / "yet"
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)
    assert data_home() == cache / "data"


def test_a_failed_writer_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    (tmp_path / ".file.tmp").mkdir()  # left by a killed process, as a folder even

    def interrupted() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]
    with replacing(path) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "new"


def test_exclusive_holds_for_threads_too(tmp_path: Path) -> None:
    inside: list[str] = []

    def enter(name: str) -> None:
        with exclusive(tmp_path / "thing"):
            inside.append(name)
            time.sleep(0.02)
            inside.append(name)

    threads = [threading.Thread(target=enter, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(first == second for first, second in zip(inside[::2], inside[1::2], strict=True))


def test_a_cache_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="RAYSL_CACHE"), exclusive(tmp_path / "file" / "sub" / "thing"):
        pass


def test_a_link_that_somebody_has_put_in_the_place_of_a_lock_is_not_followed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("not to be emptied")
    (tmp_path / ".thing.lock").symlink_to(precious)
    with pytest.raises(DataError, match="cannot write"), exclusive(tmp_path / "thing"):
        pass
    assert precious.read_text() == "not to be emptied"


def test_what_a_link_leads_to_is_not_discarded(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (tmp_path / ".file.tmp").symlink_to(precious)
    with replacing(tmp_path / "file") as temporary:
        temporary.write_text("new")
    assert precious.is_dir()
    assert (tmp_path / "file").read_text() == "new"
