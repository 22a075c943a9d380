"""The King James Bible from Debian's bible-kjv and bible-kjv-text packages, one document a chapter.

The text is in the public domain. Every 20th chapter is held out: no tokenizer and no model is trained on it.
"""

import re
import subprocess
from dataclasses import dataclass

BOOKS = """Genesis Exodus Leviticus Numbers Deuteronomy Joshua Judges Ruth 1_Samuel 2_Samuel 1_Kings 2_Kings
1_Chronicles 2_Chronicles Ezra Nehemiah Esther Job Psalms Proverbs Ecclesiastes Song_of_Solomon Isaiah Jeremiah
Lamentations Ezekiel Daniel Hosea Joel Amos Obadiah Jonah Micah Nahum Habakkuk Zephaniah Haggai Zechariah Malachi
Matthew Mark Luke John Acts Romans 1_Corinthians 2_Corinthians Galatians Ephesians Philippians Colossians
1_Thessalonians 2_Thessalonians 1_Timothy 2_Timothy Titus Philemon Hebrews James 1_Peter 2_Peter 1_John 2_John
3_John Jude Revelation""".split()
HELD_OUT_EVERY = 20


@dataclass
class Chapter:
    title: str
    text: str
    held_out: bool


def chapters() -> list[Chapter]:
    printed = subprocess.run(
        ["bible", "-f", "Gen1:1-Rev22:21"], check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL
    ).stdout
    books: dict[str, str] = {}
    verses: dict[str, list[str]] = {}
    for line in printed.splitlines():
        match = re.fullmatch(r"(\d?[A-Za-z]+)(\d+):(\d+) (.*\S)\s*", line)
        if not match:
            raise ValueError(f"a line that is no verse: {line!r}")
        book, chapter, verse, text = match.groups()
        title = books.setdefault(book, BOOKS[min(len(books), len(BOOKS) - 1)].replace("_", " "))
        verses.setdefault(f"{title} {chapter}", []).append(f"{verse} {text}")
    if len(books) != len(BOOKS):
        raise ValueError(f"{len(books)} books instead of {len(BOOKS)}")
    return [
        Chapter(title, "\n".join(lines) + "\n", i % HELD_OUT_EVERY == HELD_OUT_EVERY // 2)
        for i, (title, lines) in enumerate(verses.items())
    ]
