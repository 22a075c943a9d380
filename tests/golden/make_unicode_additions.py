#!/usr/bin/env python3
"""Writes outrider/tokenizer/unicode_additions.inc: the characters that are in Unicode 16 but not in Unicode 14.

The `tokenizers` package matches with Oniguruma, which knows Unicode 16; PCRE2 10.42 (Debian 12) knows Unicode 14. The
table holds, per property, the code points that Oniguruma finds and that were unassigned in Unicode 14, and those that gained
the property since. Needs Python 3.11
(whose unicodedata is Unicode 14) and the package `tokenizers`.
"""

import unicodedata
from pathlib import Path

from tokenizers import Regex, pre_tokenizers

GENERAL_CATEGORIES = "Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Cf".split()
BINARY = "Alphabetic Lowercase Uppercase".split()
SCRIPTS = (
    "Arabic Armenian Bengali Bopomofo Cyrillic Devanagari Ethiopic Georgian Greek Gujarati Gurmukhi Han Hangul Hebrew "
    "Hiragana Kannada Katakana Khmer Lao Latin Malayalam Mongolian Myanmar Oriya Sinhala Tamil Telugu Thai Tibetan"
).split()

# Assigned in Unicode 14, but given the property later.
RECLASSIFIED = {
    "Alphabetic": {*range(0x363, 0x370), 0xC04, 0xF82, 0xF83, *range(0x1DD3, 0x1DE7), 0x11080, 0x11081},
    "Lowercase": {0x10FC, 0xA7F2, 0xA7F3, 0xA7F4, 0xAB69},
}

CODE_POINTS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
CHUNK = 1 << 16


def matched(name: str) -> list[int]:
    """The code points that Oniguruma's \\p{name} matches."""
    split = pre_tokenizers.Split(Regex(rf"\p{{{name}}}+"), "removed", invert=True)
    found = []
    for at in range(0, len(CODE_POINTS), CHUNK):
        points = CODE_POINTS[at : at + CHUNK]
        for _, (begin, end) in split.pre_tokenize_str("".join(map(chr, points))):
            found.extend(points[begin:end])
    return found


def main() -> None:
    assert unicodedata.unidata_version == "14.0.0", unicodedata.unidata_version
    lines = []
    for name in [*GENERAL_CATEGORIES, *BINARY, *SCRIPTS]:
        ranges: list[list[int]] = []
        for point in matched(name):
            if unicodedata.category(chr(point)) != "Cn" and point not in RECLASSIFIED.get(name, ()):
                continue
            if ranges and ranges[-1][1] == point - 1:
                ranges[-1][1] = point
            else:
                ranges.append([point, point])
        items = [rf"\x{{{a:x}}}" if a == b else rf"\x{{{a:x}}}-\x{{{b:x}}}" for a, b in ranges]
        pieces = ["".join(items[i : i + 5]) for i in range(0, len(items), 5)]
        if pieces:
            lines.append(f'{{"{name}",\n' + "\n".join(f' R"({piece})"' for piece in pieces) + "},\n")
    target = Path(__file__).resolve().parents[2] / "outrider/tokenizer/unicode_additions.inc"
    target.write_text("// Written by tests/golden/make_unicode_additions.py.\n" + "".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
