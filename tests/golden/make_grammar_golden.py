#!/usr/bin/env python3
"""Writes tests/golden/grammar_golden.json: which texts grammars in EBNF and regular expressions accept.

    python3 tests/golden/make_grammar_golden.py      # needs xgrammar 0.2 or newer

XGrammar, which vLLM uses, judges the grammars, and Python's re.fullmatch the regular expressions;
outrider/grammar/grammar_golden_test.cc compares with them. Texts are made from given ones by small changes.
"""

import json
import random
import re
from pathlib import Path

import xgrammar
from xgrammar.testing import _is_grammar_accept_string

HERE = Path(__file__).resolve().parent

GRAMMARS = [  # with texts to begin from
    ('root ::= "yes" | "no"', ["yes", "no"]),
    ('root ::= "a"*', ["", "a", "aaaa"]),
    ('root ::= ("a" | "b")+ "c"?', ["ab", "abc", "bbac"]),
    ('root ::= [a-c]{2,3} "-" [^a-c]{2}', ["ab-xy", "abc-zz"]),
    ('root ::= "x"{0,2} "y"{2,} "z"{1}', ["yyz", "xxyyz", "xyyyz"]),
    ('root ::= "" | "a" root "b"', ["", "ab", "aaabbb"]),
    ('root ::= root "+" term | root "-" term | term\nterm ::= [0-9]+ | "(" root ")"',
     ["1", "1+2-3", "(1+2)-(3-(4))", "((((1))))+2"]),
    ('root ::= sum\nsum ::= product (("+" | "-") product)*\nproduct ::= value (("*" | "/") value)*\n'
     'value ::= [0-9] | "(" sum ")"', ["1+2*3", "(1+2)*(3/4)", "((1))"]),
    ('root ::= select # the statement\nselect ::= "SELECT " column " from " table " where " condition\n'
     'column ::= "col_1 " | "col_2 "\ntable ::= "table_1 " | "table_2 "\ncondition ::= column "= " number\n'
     'number ::= "1 " | "2 "', ["SELECT col_1  from table_2  where col_2 = 1 "]),
    ('root ::= object\nvalue ::= object | array | string | number | "true" | "false" | "null"\n'
     'object ::= "{" ws (pair ("," ws pair)*)? "}"\npair ::= string ":" ws value\n'
     'array ::= "[" ws (value ("," ws value)*)? "]"\nstring ::= "\\"" ([^"\\\\\\n] | "\\\\" ["\\\\/bfnrt])* "\\""\n'
     'number ::= "-"? ("0" | [1-9] [0-9]*) ("." [0-9]+)?\nws ::= " "?',
     ['{}', '{"a":1}', '{"a": [1, -2.5, {"b": null}], "c": "x\\"y\\n"}']),
    ('root ::= move (" " move)*\nmove ::= (pawn | piece | castle) [+#]?\npawn ::= ([a-h] "x")? [a-h] [1-8] ("=" [NBQR])?\n'
     'piece ::= [NBKQR] [a-h]? [1-8]? "x"? [a-h] [1-8]\ncastle ::= "O-O" "-O"?', ["e4 e5 Nf3 Nc6", "exd5 O-O-O+ Qxf7#", "e8=Q"]),
    ('root ::= ("- " item)+\nitem ::= [^\\n]+ "\\n"', ["- a\n", "- milk\n- ü 日本\n"]),
    ('root ::= "é"* [ぁ-ゟ]+ "\\u00e9" "\\x41" "\\U0001F600"', ["あéA😀", "éééあのéA😀"]),
    ('root ::= [\\-a\\]^] [+-] "\\t\\\\\\""', ["-+\t\\\"", "]-\t\\\"", "^+\t\\\""]),
    ('root ::= (\n  "a"\n  | "b" # or b\n) rest\nrest ::= ("c" |\n  "d")\n  "e"', ["ace", "bde"]),
    ('root ::= a b\na ::= ("x" | "")*\nb ::= (a "y")?', ["", "x", "xxy", "y"]),
    ('root ::= "if " cond " then " root (" else " root)? | "s"\ncond ::= "c" | cond " and c"',
     ["s", "if c then s", "if c and c then if c then s else s else s"]),
    ('root ::= ("ab" | "a") ("bc" | "c")', ["abc", "abbc", "ac"]),
    ('root ::= tag\ntag ::= "<" name ">" tag* "</" name ">"\nname ::= [a-z]+', ["<a></a>", "<a><b></b><c></c></a>"]),
]

EXPRESSIONS = [
    (r"[0-9]{3}", ["110"]),
    (r"^\d{4}-\d{2}$", ["2026-11"]),
    (r"yes|no", ["yes", "no"]),
    (r"^yes|no$", ["yes", "no"]),
    (r"\w+@\w+\.com\n?", ["a_b@c.com", "alan_1@enigma.com\n"]),
    (r"(?P<year>[12]\d{3})(?:-(?P<month>0[1-9]|1[0-2]))?", ["1999", "2026-12"]),
    (r"(a|ab)(c|bcd)?d*", ["abcd", "acddd", "abbcdd"]),
    (r"(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)", ["192.168.0.1", "255.255.255.255"]),
    (r"[^\s,]+(, [^\s,]+)*", ["a, b, c", "é, 日本"]),
    (r".*end", ["end", "the end"]),
    (r"(?:a{2}){1,2}b{0,2}?c+?", ["aac", "aaaabbcc"]),
    (r"", [""]),
    (r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?", ["-0.5e10", "12"]),
    (r"[\]\-\\^]+\/\.", ["]-\\^/."]),
    (r"\x41\u00e9[\u3041-\u309f]", ["Aéあ"]),
]


def changed(given: list[str], rng: random.Random) -> list[str]:
    alphabet = sorted(set("".join(given))) or ["a"]
    texts = {"": None, **dict.fromkeys(given)}
    for _ in range(60):
        text = list(rng.choice(given))
        for _ in range(rng.choice([1, 1, 1, 2, 3])):
            at = rng.randrange(len(text) + 1)
            how = rng.randrange(4)
            if how == 0:
                text.insert(at, rng.choice([*alphabet, " ", "a", "\n"]))
            elif how == 1:
                del text[at:at + 1]
            elif how == 2:
                text[at:at + 1] = rng.choice(alphabet)
            else:
                other = rng.choice(given)
                text = [*text[:at], *other[rng.randrange(len(other) + 1):]]
        texts["".join(text)] = None
    return list(texts)


def cases(given: list, accepts) -> list[dict]:
    rng = random.Random(1)
    made = []
    for source, examples in given:
        verdicts = {text: accepts(source, text) for text in changed(examples, rng)}
        assert all(verdicts[example] for example in examples), source
        made.append({"source": source, "accepted": [text for text, yes in verdicts.items() if yes],
                     "rejected": [text for text, yes in verdicts.items() if not yes]})
    return made


def main() -> None:
    golden = {
        "ebnf": cases(GRAMMARS, lambda source, text: _is_grammar_accept_string(xgrammar.Grammar.from_ebnf(source), text)),
        "regex": cases(EXPRESSIONS, lambda source, text: re.fullmatch(source, text) is not None),
    }
    lines = ",\n".join(f' "{kind}": [\n' + ",\n".join("  " + json.dumps(case) for case in golden[kind]) + "\n ]"
                       for kind in golden)
    (HERE / "grammar_golden.json").write_text("{\n" + lines + "\n}\n")


if __name__ == "__main__":
    main()
