"""Text that cannot steer a terminal."""

import sys
import unicodedata

from raysl.outgoing import harmless
from raysl.outgoing.harmless import one_line


def test_no_character_that_steers_or_hides_is_left() -> None:
    unwanted = {"Cc", "Cf", "Cs", "Zl", "Zp"}
    every = [chr(code) for code in range(sys.maxunicode + 1)]
    text = "".join(one for one in every if one < "\u3000" or unicodedata.category(one) in unwanted)
    left = set(harmless(text)) - {"\n", "\t"}
    assert not unwanted & set(map(unicodedata.category, left))
    assert len(left) > 5000


def test_what_is_removed_can_be_seen() -> None:
    assert harmless("a\x1b[31mb\x9bc\u202ed\u200be\udcff\rf") == r"a\x1b[31mb\x9bc\u202ed\u200be\udcff\rf"


def test_ordinary_text_stays() -> None:
    for text in ("a\tb\nc\r\nd", "0.1 ± 0.2 – „größe“ 数字 ñ é │━", "a\xa0b\u3000c", "[red] :bomb: \\x1b"):
        assert harmless(text) == text
        assert harmless(harmless(text)) == harmless(text)


def test_a_line_is_one_line() -> None:
    assert one_line("a\nerror: b\r\nc") == r"a\nerror: b\nc"
