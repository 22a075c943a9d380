"""Chapters as token sequences: mostly as plain text, some as the answer to a user who named the chapter."""

import random
from pathlib import Path

from tokenizers import Tokenizer

from corpus import Chapter, chapters

CHAT_SHARE = 0.25
MODEL = Path(__file__).resolve().parent.parent / "models" / "deepseek-v4-kjv"


def tokenizer() -> Tokenizer:
    return Tokenizer.from_file(str(MODEL / "tokenizer.json"))


def prompt(title: str, chat: bool) -> str:
    if chat:
        return f"<｜begin▁of▁sentence｜><｜User｜>{title}<｜Assistant｜></think>"
    return f"<｜begin▁of▁sentence｜>{title}\n\n"


def document(chapter: Chapter, chat: bool) -> str:
    return prompt(chapter.title, chat) + chapter.text + "<｜end▁of▁sentence｜>"


class TokenStream:
    """The training chapters in a new order each epoch, one after the other without end; a pure function of the seed."""

    def __init__(self, seed: int, epoch: int = 0, offset: int = 0):
        self._seed, self.epoch, self.offset = seed, epoch, offset
        self._chapters = [c for c in chapters() if not c.held_out]
        encode = tokenizer().encode_batch
        self._encoded = [
            [e.ids for e in encode([document(c, chat) for c in self._chapters], add_special_tokens=False)]
            for chat in (False, True)
        ]
        self._load()

    def _load(self):
        order = random.Random(f"{self._seed}/{self.epoch}")
        rows = list(range(len(self._chapters)))
        order.shuffle(rows)
        self._tokens = [t for i in rows for t in self._encoded[order.random() < CHAT_SHARE][i]]

    def take(self, count: int, overlap: int) -> list[int]:
        """The next `count` tokens; the last `overlap` of them come again in the next call."""
        if self.offset + count > len(self._tokens):
            self.epoch, self.offset = self.epoch + 1, 0
            self._load()
        tokens = self._tokens[self.offset : self.offset + count]
        self.offset += count - overlap
        return tokens
