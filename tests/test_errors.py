"""Messages: short, without control characters, and with the choices."""

from pathlib import Path

import pytest

from raysl.errors import (
    MOST_OF_A_MESSAGE,
    DataError,
    SearchError,
    UserError,
    checked_path,
    choices,
    cut,
    dotted,
    printable,
    quoted,
)


@pytest.mark.parametrize("kind", [UserError, DataError, SearchError])
def test_a_message_is_short_whatever_it_echoes(kind: type[Exception]) -> None:
    for text in (
        "x" * 100_000,
        "\x1b" * 5000,
        "\n".join(["x" * 300] * 100),
        "\n" * 10_000,
        f"place: {'y' * 9000}: why",
    ):
        shown = str(kind(text))
        assert len(shown) <= MOST_OF_A_MESSAGE
        assert shown.replace("\n", "").isprintable()
    assert str(kind(f"place: {'y' * 9000}: why")).startswith("place: yy")
    assert str(kind(f"place: {'y' * 9000}: why")).endswith("yy: why")
    assert str(kind("\n".join(f"line {n} {'x' * 90}" for n in range(50)))).endswith(" more lines")


def test_a_message_in_another_is_not_cut_twice() -> None:
    inner = str(UserError("x" * 5000))
    assert str(UserError(inner)) == inner
    assert str(UserError("short: message\nof two lines")) == "short: message\nof two lines"


def test_what_does_not_print_is_written_out() -> None:
    assert printable("a\x1b[31mb\u202ec\ud800\n") == r"a\x1b[31mb\u202ec\ud800\n"
    assert printable("é ± 図") == "é ± 図"
    assert quoted({"a": "x" * 1000}).startswith("{'a': 'xxx")
    assert len(quoted([["y" * 500] * 50] * 50)) <= 200
    assert quoted([0.1, "b", None]) == "[0.1, 'b', None]"


def test_the_middle_of_what_is_long_is_left_out() -> None:
    short = cut("".join(map(str, range(1000))), 100)
    assert len(short) == 100
    assert short.startswith("0123456")
    assert short.endswith("997998999")
    assert "(2890 characters)" in short


def test_paths_are_written_as_set_takes_them() -> None:
    assert dotted(("stages", "semi", "epochs")) == "stages.semi.epochs"
    assert dotted(("stages", "a.b", "epochs")) == 'stages."a.b".epochs'
    assert dotted(("a=b", 'c"d', "e f", "")) == '"a=b".\'c"d\'."e f".""'


def test_choices_are_bounded_and_tell_forms_of_unicode_apart() -> None:
    assert choices("semy", ["semi", "other"]) == "did you mean 'semi'? choices: other, semi"
    assert choices("x" * 10**6, [f"name{n:04}" for n in range(5000)]).endswith("and 4940 more")
    assert choices("caf\u00e9", ["cafe\u0301", "bar"]).startswith(
        "'cafe\u0301' has the same letters in another form of"
    )


@pytest.mark.parametrize(
    ("path", "trouble"),
    [
        ("/\udcff", r"^cache /\\udcff: the path is not UTF-8"),
        ("/a\nb", r"^cache /a\\nb: the path holds the character '\\n'"),
        ("x/\x1b[31m", r"the path holds the character '\\x1b'"),
        ("/" + "\u00e9" * 128 + "/x", "a name in the path is longer than 255 bytes"),
    ],
)
def test_a_path_that_libraries_cannot_be_given_is_refused(path: str, trouble: str) -> None:
    with pytest.raises(DataError, match=trouble):
        checked_path(Path(path), "cache", DataError)


@pytest.mark.parametrize(
    "path", ["/\u00e9", "relative/x y", "s3://bucket/x", f"http://host/{'x' * 300}", f"/{'x' * 255}"]
)
def test_other_paths_are_taken(path: str) -> None:
    assert checked_path(Path(path), "results folder") == Path(path)
