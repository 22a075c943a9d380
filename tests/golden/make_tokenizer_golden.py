#!/usr/bin/env python3
"""Writes tests/golden/tokenizer_golden.json and the small tokenizers beside it, with the package `tokenizers`.

    python3 tests/golden/make_tokenizer_golden.py      # needs tokenizers 0.20 or newer

The expected ids and texts are those of the package; outrider/tokenizer/tokenizer_test.cc compares with them.
"""

import json
import random
from pathlib import Path

import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]

TEXTS = [
    "",
    " ",
    "a",
    "In the beginning God created the heaven and the earth.",
    "  leading, trailing  \t and   inner    blanks   ",
    "tabs\tand\tmore\t\t\ttabs\n\nlines\r\nCRLF\r\n\r\nend\n",
    "\r\r\n\n \n  \n   x\n",
    "don't I'll we've they're it's 'tis O'Neil's DON'T I'LL",
    "1 12 123 1234 12345 3.14159 1,000,000 0x7f 2026-02-21 ٣٤٥ ४५६ Ⅷ ² ½ ①",
    "def f(x: int) -> str:\n    return f'{x!r:>10}'  # comment\n\n\nclass A(B):\n\tpass\n",
    "#include <vector>\nint main() { std::vector<int> v{1, 2}; return v[0] != 0 ? a->b : c::d; }\n",
    '{"a": [1, 2.5e-3, null, "x\\ny"], "b": {"c": true}}',
    "<html><body class=\"x\">&amp; &lt;</body></html> http://example.org/a?b=c&d=%20#e",
    "该助手为DeepSeek，由深度求索公司创造。今天是2025年10月17日，星期五。",
    "日本語のテキスト。カタカナ、ひらがな、漢字混じり文。ＡＢＣ１２３",
    "한국어 텍스트입니다. 안녕하세요!",
    "Русский текст, Ελληνικά, עברית, العربية، हिन्दी, ไทย, ქართული, አማርኛ",
    "naïve café déjà vu Ångström e\u0301 a\u030a\u0327 \u1e9b\u0323 \ufb01 \u00c5 \u212b ǅ ß ẞ İ ı",
    "emoji 😀👍🏽 👩\u200d👩\u200d👧\u200d👦 🏳️\u200d🌈 🇩🇪 ❤️ ☎ ⌘ →",
    "\u200b\u200c\u200d\ufeff\u00ad\u00a0\u2003\u3000\u2028\u2029\u0085\u180e",
    "\u0000\u0001\u001f\u007f\u0080\u009f\ufffd\ufffe\uffff",
    "\U00031350\U0002ebf0\u0897\u1c89\U00010d50\U000105c0\U0001cc00 unassigned \u0378\U0003fffd\U000e0001\U0010ffff",
    "<think>reasoning</think>answer<｜end▁of▁sentence｜>",
    "<｜begin▁of▁sentence｜><｜User｜>Hello<｜Assistant｜><think>",
    "<｜User｜>q<｜Assistant｜></think>\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"f\">\n</｜DSML｜invoke>",
    "<｜User <｜User｜ <|User|> <think <thin </think <<think>> ｜DSML｜DSML｜",
    "a<mask>b <mask> c<mask> <mask>\t<mask>,<mask>\u0301 x<mask>\u200d",
    "foo bar foobar  foo  bar\n foo, STRIP  STRIP x STRIPx\t\n STRIP \u3000end",
    "Norm norm NORM no\u0301rm \u212bngstrom \u00c5ngstrom A\u030angstrom",
    "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~ !a #b $c %d\n'e (f) -g .h /i :j",
    "snake_case camelCase PascalCase SCREAMING_CASE kebab-case x_1 _y __z__",
    "wait... what?!?! -- -- ---- ==== ++ && || << >> ** // ¡¿ «quoted» „so“ ‘x’",
    "\ud7ff\ue000\uf8ff private use \U000f0000",
    "é" * 30 + "中" * 30 + "😀" * 20,
]
RUNS = [["a", 5000], [" ", 5000], ["\n", 3000], ["=", 5000], ["ab", 60], ["1", 60], ["中", 60], [" the", 60]]


def random_texts(seed: int) -> list[str]:
    rng = random.Random(seed)
    alphabet = [*"abcXYZ 12 \n\t'.,-<>", "é", "中", "の", "😀", "\u0301", "\u00a0", "٣", "<think>", "<mask>", " STRIP ", "Å"]
    mixed = ["".join(rng.choice(alphabet) for _ in range(40)) for _ in range(12)]
    ranges = [(0x20, 0x7F), (0xA0, 0x600), (0x900, 0x2000), (0x2000, 0x3100), (0x4E00, 0xA000), (0x1F300, 0x1FA00)]
    points = ["".join(chr(rng.randrange(*rng.choice(ranges))) for _ in range(30)) for _ in range(10)]
    cut = [rng.randbytes(40).decode("utf-8", "replace") for _ in range(4)]
    return mixed + points + cut


def trained(normalizer, pre_tokenizer, added, special) -> Tokenizer:
    """A byte-level BPE of about 330 tokens, learned from the texts above."""
    tokenizer = Tokenizer(models.BPE())
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=330, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.add_tokens(added)
    tokenizer.add_special_tokens(special)
    return tokenizer


def prefixed() -> str:
    """A prefix space, GPT-2's regular expression, single digits, NFC, added tokens with every option, a template, and
    merges written as in files of older versions."""
    tokenizer = trained(
        normalizers.NFC(),
        pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(True)]),
        [
            AddedToken("<mask>", single_word=True),
            AddedToken("STRIP", lstrip=True, rstrip=True, normalized=False),
            AddedToken("foo", rstrip=True, normalized=False),
            AddedToken("foobar", normalized=False),
            AddedToken("no\u0301rm", normalized=True),
            AddedToken("\u00c5ngstrom", normalized=True),
        ],
        [AddedToken("<s>", special=True), AddedToken("</s>", special=True), AddedToken("<think>", special=True)],
    )
    ids = {token: tokenizer.token_to_id(token) for token in ("<s>", "</s>")}
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A </s>", "<s> $A </s> $B </s>", list(ids.items()))
    written = json.loads(tokenizer.to_str())
    written["model"]["merges"] = [" ".join(merge) for merge in written["model"]["merges"]]
    return json.dumps(written, ensure_ascii=False)


def merged() -> str:
    """Every split behavior, a literal pattern, a regular expression with (?i), NFKC with Replace and Prepend, ignore_merges."""
    split = pre_tokenizers.Split
    tokenizer = trained(
        normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(r"\s{3,}"), "  "),
                              normalizers.Replace("->", "→"), normalizers.Prepend("▁")]),
        pre_tokenizers.Sequence([
            split("\n", "merged_with_previous"),
            split(Regex(r"[A-Z]"), "merged_with_next"),
            split(Regex(r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s+"),
                  "removed", invert=True),
            split(Regex(r"[-=+]"), "contiguous"),
            split("_", "removed"),
            pre_tokenizers.ByteLevel(False, use_regex=False),
        ]),
        [AddedToken("<mask>", normalized=False)],
        [AddedToken("<think>", special=True), AddedToken("</think>", special=True)],
    )
    written = json.loads(tokenizer.to_str())
    vocab = written["model"]["vocab"]
    size = len(vocab)
    for name in ("hers", "Ġbananas"):  # whole words that merges cannot produce
        vocab[name] = size
        size += 1
    for token in written["added_tokens"]:
        token["id"] += 2
    written["model"]["ignore_merges"] = True
    return json.dumps(written, ensure_ascii=False)


def cases(tokenizer: Tokenizer, seed: int) -> dict:
    texts = []
    for text in [*TEXTS, "hers bananas hersbananas", *random_texts(seed)]:
        ids = tokenizer.encode(text).ids
        entry = {"text": text, "ids": ids}
        for key, skip in (("decoded", False), ("decoded_without_special", True)):
            decoded = tokenizer.decode(ids, skip_special_tokens=skip)
            if decoded != text:
                entry[key] = decoded
        texts.append(entry)
    runs = []
    for unit, count in RUNS:
        lengths: list[list[int]] = []
        for token in tokenizer.encode(unit * count).ids:
            if lengths and lengths[-1][0] == token:
                lengths[-1][1] += 1
            else:
                lengths.append([token, 1])
        runs.append({"unit": unit, "count": count, "ids_and_lengths": lengths})
    rng = random.Random(seed)
    size = tokenizer.get_vocab_size()
    sequences = [[rng.randrange(min(size, 300) if i % 2 else size + 3) for _ in range(12)] for i in range(30)]
    decodings = [{"ids": ids, "decoded": tokenizer.decode(ids, skip_special_tokens=False)} for ids in sequences]
    return {"vocab_size": size, "texts": texts, "runs": runs, "decodings": decodings}


def main() -> None:
    files = {"models/deepseek-v4-kjv/tokenizer.json": None}
    for name, made in (("prefixed", prefixed()), ("merged", merged())):
        path = HERE / f"{name}_tokenizer.json"
        path.write_text(made + "\n", encoding="utf-8")
        files[str(path.relative_to(ROOT))] = None
    golden = {"made_with": f"tokenizers {tokenizers.__version__}", "tokenizers": {}}
    for seed, file in enumerate(files):
        golden["tokenizers"][file] = cases(Tokenizer.from_file(str(ROOT / file)), seed)
    text = json.dumps(golden, ensure_ascii=False, separators=(",", ":"))
    (HERE / "tokenizer_golden.json").write_text(text.replace('{"text"', '\n{"text"') + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
