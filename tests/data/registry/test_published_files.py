"""Files in archives and in folders: which are found, and that nothing else is read."""

import io
import tarfile
import zipfile
from pathlib import Path

import pytest
from mask_files import lay, tarred, zipped

from raysl.data.registry import published_files
from raysl.data.registry.published_files import Part, find_part, opened
from raysl.errors import DataError

PART = Part("Set/Data", "set.zip", inside=("there",))
FILES = {"Set/Data/a.png": b"a", "Set/Data/b/c.txt": b"one\r\n\n two \n", "Set/Data/b/d.PNG": b"d"}
OTHERS = {
    "Set/x.png": b"beside",
    "Set/Data2/x.png": b"beside",
    "Set/Data/.DS_Store": b"hidden",
    "__MACOSX/Set/Data/._a.png": b"hidden",
    "Other/Top/Set/Data/x.png": b"too deep",
    "Set/DataX": b"beside",
}
WAYS = ("folder", "zip", "tar", "tgz")


def packed(folder: Path, way: str, files: dict[str, bytes]) -> Path:
    """Write files in one of the ways; return the place of the part."""
    if way == "folder":
        lay(folder, {name: data for name, data in files.items() if not name.startswith("Other")})
        return folder / PART.folder
    place = folder / f"set.{way}"
    (zipped if way == "zip" else tarred)(place, files)
    return place


def listed(place: Path, scratch: Path) -> dict[str, bytes]:
    with opened(PART, place, scratch) as files:
        return {name: file.read() for name, file in files.files.items()}


@pytest.mark.parametrize("way", WAYS)
def test_the_files_of_a_part_are_found_in_it_and_below(tmp_path: Path, way: str) -> None:
    place = packed(tmp_path / "given", way, {**FILES, **OTHERS})
    (tmp_path / "scratch").mkdir()
    with opened(PART, place, tmp_path / "scratch") as files:
        assert {name: file.read() for name, file in files.files.items()} == {
            "a.png": b"a",
            "b/c.txt": b"one\r\n\n two \n",
            "b/d.PNG": b"d",
        }
        assert files.below("", ".png") == ["a.png", "b/d.PNG"]
        assert files.below("b", ".png") == ["b/d.PNG"]
        assert files.lines("b/c.txt") == ["one", "two"]
        top = f"{place}/" if way == "folder" else f"{place}/Set/Data/"
        assert files["a.png"].place == f"{top}a.png"
        with pytest.raises(DataError, match=rf"^{place}: b/e\.png is not there$"):
            files["b/e.png"]
    assert {path.name for path in (tmp_path / "scratch").iterdir()} == ({"set.plain.tar"} if way == "tgz" else set())


@pytest.mark.parametrize("way", ["zip", "tar"])
def test_an_archive_may_have_one_folder_more_at_its_top(tmp_path: Path, way: str) -> None:
    place = packed(tmp_path, way, {f"Set-master/{name}": data for name, data in FILES.items()})
    assert set(listed(place, tmp_path)) == {"a.png", "b/c.txt", "b/d.PNG"}


@pytest.mark.parametrize("way", WAYS)
def test_a_place_without_files_of_the_part_is_refused(tmp_path: Path, way: str) -> None:
    place = packed(tmp_path, way, {"Set/Data/.hidden": b"", "Set/x.png": b""})
    with pytest.raises(DataError, match=rf"^{place}: holds no file of Set/Data/$"):
        listed(place, tmp_path)


def test_nothing_outside_an_archive_is_read_or_written(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    place = tmp_path / "set.tar"
    with tarfile.open(place, "w") as archive:
        for number, target in enumerate(("/etc/passwd", "../secret", "a.png")):
            for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
                member = tarfile.TarInfo(f"Set/Data/link{number}")
                member.type, member.linkname = kind, target
                archive.addfile(member)
        for name in ("Set/Data/a.png", "Set/Data/../../secret", "/Set/Data/b.png"):
            member = tarfile.TarInfo(name)
            member.size = 3
            archive.addfile(member, io.BytesIO(b"own"))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    assert listed(place, scratch) == {"a.png": b"own", "../../secret": b"own", "b.png": b"own"}
    assert not list(scratch.iterdir())
    assert (tmp_path / "secret").read_bytes() == b"secret"


def test_a_folder_that_holds_itself_ends(tmp_path: Path) -> None:
    place = packed(tmp_path, "folder", FILES)
    (place / "again").symlink_to(place)
    assert set(listed(place, tmp_path)) >= {"a.png", "b/c.txt", "b/d.PNG"}
    assert len(listed(place, tmp_path)) < 30


@pytest.mark.parametrize("way", WAYS)
def test_files_that_are_too_large_are_not_read(tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place = packed(tmp_path, way, FILES)
    monkeypatch.setattr(published_files, "MOST_BYTES", 2)
    with opened(PART, place, tmp_path) as files:
        assert files["a.png"].read() == b"a"
        with pytest.raises(DataError, match=r"b/c\.txt: takes 12 bytes, and at most 2 are read$"):
            files["b/c.txt"].read()


def test_a_member_that_is_damaged_is_no_other_content(tmp_path: Path) -> None:
    place = packed(tmp_path, "zip", {"Set/Data/a.png": b"content of a file"})
    content = place.read_bytes()
    place.write_bytes(content.replace(b"content of", b"contents f"))
    with pytest.raises(zipfile.BadZipFile, match="Bad CRC"):
        listed(place, tmp_path)


def test_parts_are_found_in_the_folders_of_sets_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYSL_DATA", str(tmp_path / "given"))
    assert find_part(PART) is None
    ways = [tmp_path / "given" / place for place in ("there/set.zip", "set.zip", "there/Set/Data", "Set/Data")]
    for place in ways:  # each before those found so far
        if place.suffix:
            lay(place.parent, {place.name: b""})
        else:
            place.mkdir(parents=True)
        assert find_part(PART) == place
