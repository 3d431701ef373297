"""Text that cannot steer a terminal."""

import sys
import unicodedata

from raysl.outgoing import harmless
from raysl.outgoing.harmless import one_line


def test_no_character_that_steers_or_hides_is_left() -> None:
    every = "".join(map(chr, range(sys.maxunicode + 1)))
    left = set(map(unicodedata.category, set(harmless(every)) - {"\n", "\t", "\r"}))
    assert not left & {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    assert harmless(every).count("\r") == 0


def test_what_is_removed_can_be_seen() -> None:
    assert harmless("a\x1b[31mb\x9bc\u202ed\u200be\udcff\rf") == r"a\x1b[31mb\x9bc\u202ed\u200be\udcff\rf"


def test_ordinary_text_stays() -> None:
    for text in ("a\tb\nc\r\nd", "0.1 ± 0.2 – „größe“ 数字 ñ é │━", "a\xa0b\u3000c", "[red] :bomb: \\x1b"):
        assert harmless(text) == text
        assert harmless(harmless(text)) == harmless(text)


def test_a_line_is_one_line() -> None:
    assert one_line("a\nerror: b\r\nc") == r"a\nerror: b\nc"
