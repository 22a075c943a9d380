"""Safetensors files to judge readers by, generated from a seed: sound ones, and ones damaged in every way."""

import json
import random
import struct

BITS = {"BOOL": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8,
        "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32,
        "C64": 64, "F64": 64, "I64": 64, "U64": 64}
NAMES = ["a", "layers.0.attn.wq_a.weight", "é", "中文.权重", "\U0001f600", "a\nb", "a\"b\\c", "\u0000", "", " ", "../x",
         "x" * 300, "\u202e", "model.layers.3.mlp.experts.7.down_proj.weight_scale_inv"]


class File:
    """A file to be written: entries by name, in order, and what is done to its bytes."""

    def __init__(self, rng: random.Random):
        self.rng = rng
        self.entries: list[tuple[str, object]] = []
        self.text: str | None = None  # of the header, instead of the entries
        self.padding = b""
        self.length: int | None = None
        self.data = b""
        names = rng.sample(NAMES, rng.randint(0, 6))
        at = 0
        for name in names:
            dtype = rng.choice(list(BITS))
            shape = [rng.choice([0, 1, 2, 3, 4, 8, 16]) for _ in range(rng.randint(0, 4))]
            if BITS[dtype] % 8:
                shape.append(8)
            bits = BITS[dtype]
            for dim in shape:
                bits *= dim
            self.entries.append((name, {"dtype": dtype, "shape": shape, "data_offsets": [at, at + bits // 8]}))
            at += bits // 8
        self.data = rng.randbytes(at)
        rng.shuffle(self.entries)
        if rng.random() < 0.5:
            self.entries.insert(0, ("__metadata__", {"format": "pt", "é": ""}))

    def tensors(self) -> list[dict]:
        return [entry for name, entry in self.entries if name != "__metadata__"]

    def one(self) -> dict:
        """An entry of a tensor; adds one if there is none."""
        if not self.tensors():
            self.entries.append(("t", {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}))
            self.data = bytes(8)
        return self.rng.choice(self.tensors())

    def header(self) -> bytes:
        if self.text is not None:
            return self.text.encode("utf-8", "surrogatepass") + self.padding
        fields = ",".join(f"{json.dumps(k, ensure_ascii=self.rng.random() < 0.3)}:{json.dumps(v)}" for k, v in self.entries)
        return ("{" + fields + "}").encode() + self.padding

    def bytes(self) -> bytes:
        header = self.header()
        length = len(header) if self.length is None else self.length
        return struct.pack("<Q", length % 2**64) + header + self.data


def sound(f: File) -> None:
    pass


def padded(f: File) -> None:
    f.padding = f.rng.choice([b" ", b"\n", b"\t", b"\r"]) * f.rng.randint(1, 9)


def odd_padding(f: File) -> None:
    f.padding = f.rng.choice([b"\0", b"\v", b"x", b"}", b",", b"{}", b"\xc2\xa0", b"\f"]) * f.rng.randint(1, 3)


def leading(f: File) -> None:
    f.text = f.rng.choice([" ", "\n", "\t", "\ufeff", "\0", "[", "x"]) + f.header().decode()


def header_length(f: File) -> None:
    real = len(f.header())
    f.length = f.rng.choice([0, 1, real - 1, real + 1, real + len(f.data), real + len(f.data) + 1, 100_000_000,
                             100_000_001, 2**32, 2**63, 2**64 - 1, 2**64 - 8])


def short_file(f: File) -> None:
    whole = f.bytes()
    f.bytes = lambda: whole[: f.rng.choice([0, 1, 7, 8, 9, max(len(whole) - 1, 0), f.rng.randint(0, len(whole))])]


def trailing(f: File) -> None:
    f.data += bytes(f.rng.choice([1, 2, 8, 100]))


def truncated(f: File) -> None:
    f.one()
    f.data = f.data[: -f.rng.choice([1, 2, 8])]


def tensor_twice(f: File) -> None:
    f.one()
    name, entry = f.rng.choice([e for e in f.entries if e[0] != "__metadata__"])
    f.entries.append((name, f.rng.choice([entry, {**entry, "shape": [0]}])))


def metadata_key_twice(f: File) -> None:
    f.text = '{"__metadata__":{"a":"b","a":"' + f.rng.choice("bc") + '"}}'
    f.data = b""


def metadata_twice(f: File) -> None:
    f.entries = [e for e in f.entries if e[0] != "__metadata__"] + [("__metadata__", {})] * 2


def null_metadata(f: File) -> None:
    f.entries = [e for e in f.entries if e[0] != "__metadata__"] + [("__metadata__", None)]


def metadata_kind(f: File) -> None:
    kind = f.rng.choice([1, "a", [], True, {"a": 1}, {"a": None}, {"a": {}}, {"a": ["b"]}, {"a": True}])
    f.entries = [e for e in f.entries if e[0] != "__metadata__"] + [("__metadata__", kind)]


def unknown_field(f: File) -> None:
    f.one()[f.rng.choice(["strides", "Dtype", "offset", ""])] = f.rng.choice([0, None, "a", [1], {"b": [{}]}])


def field_missing(f: File) -> None:
    del f.one()[f.rng.choice(["dtype", "shape", "data_offsets"])]


def field_twice(f: File) -> None:
    field = f.rng.choice(['"dtype":"U8"', '"shape":[2]', '"data_offsets":[0,2]'])
    f.text = '{"t":{"dtype":"U8","shape":[2],"data_offsets":[0,2],' + field + "}}"
    f.data = bytes(2)


def entry_kind(f: File) -> None:
    name = f.rng.choice(NAMES) + "."
    f.entries.append((name, f.rng.choice([None, 1, "a", True, [], {}, [[]], ["F32"], 1.5])))


def entry_as_list(f: File) -> None:
    f.one()
    i = f.rng.choice([i for i, e in enumerate(f.entries) if e[0] != "__metadata__"])
    name, entry = f.entries[i]
    f.entries[i] = (name, [entry["dtype"], entry["shape"], entry["data_offsets"]])


def field_kind(f: File) -> None:
    wrong = f.rng.choice([None, "a", 1, True, {}, [None], ["1"], [True], [[1]], {"a": 1}, 1.5])
    f.one()[f.rng.choice(["dtype", "shape", "data_offsets"])] = wrong


def number_kind(f: File) -> None:
    number = f.rng.choice(["-1", "1.0", "1e0", "0x1", "01", "1.5", "18446744073709551615", "18446744073709551616",
                           "1e400", "-9223372036854775808", "NaN", "Infinity", "+1", "1_0", "1E+2", "0.0", "0e0"])
    f.text = f.rng.choice(['{"t":{"dtype":"U8","shape":[%s],"data_offsets":[0,1]}}',
                           '{"t":{"dtype":"U8","shape":[0,%s],"data_offsets":[0,0]}}',
                           '{"t":{"dtype":"U8","shape":[1],"data_offsets":[%s,1]}}',
                           '{"t":{"dtype":"U8","shape":[1],"data_offsets":[0,%s]}}']) % number
    f.data = bytes(f.rng.choice([0, 1]))


def negative_zero(f: File) -> None:
    f.text = f.rng.choice(['{"t":{"dtype":"U8","shape":[-0],"data_offsets":[0,0]}}',
                           '{"t":{"dtype":"U8","shape":[1],"data_offsets":[-0,1]}}'])
    f.data = bytes("[1]" in f.text)


def unknown_dtype(f: File) -> None:
    f.one()["dtype"] = f.rng.choice(["", "f32", "F32 ", "FP8", "F8_E5M3", "I4", "U4", "E8M0", "F4_E2M1", "F8_E4M3FN", "C128",
                                     "bfloat16", "INT8", "F16\u0000", "NF4", "F6", "C32", "I128", "F8"])


def wrong_size(f: File) -> None:
    entry = f.one()
    entry["dtype"] = f.rng.choice(list(BITS))


def odd_bits(f: File) -> None:
    f.entries = [("t", {"dtype": f.rng.choice(["F4", "F6_E2M3", "F6_E3M2"]), "shape": [n := f.rng.randint(0, 9)],
                        "data_offsets": [0, m := f.rng.choice([n // 2, (n + 1) // 2, n * 6 // 8, (n * 6 + 7) // 8])]})]
    f.data = bytes(m)


def offsets(f: File) -> None:
    entry = f.one()
    begin, end = entry["data_offsets"]
    entry["data_offsets"] = f.rng.choice([[end, begin], [begin + 1, end + 1], [begin, end + 1], [begin + 1, end], [begin],
                                          [begin, end, end], [], [end, end], [0, 0], [begin, 2**63], [2**64 - 1, 2**64 - 1]])


def swapped(f: File) -> None:
    f.one()
    tensors = f.tensors()
    a, b = f.rng.choice(tensors), f.rng.choice(tensors)
    a["data_offsets"], b["data_offsets"] = b["data_offsets"], a["data_offsets"]


def hole(f: File) -> None:
    f.one()
    for entry in f.tensors():
        if f.rng.random() < 0.5:
            entry["data_offsets"] = [x + 8 for x in entry["data_offsets"]]
    f.data += bytes(8)


def overlap(f: File) -> None:
    entry = f.one()
    f.entries.append(("overlapping", dict(entry)))


def huge_shape(f: File) -> None:
    f.one()["shape"] = f.rng.choice([[2**32, 2**32], [2**63, 2], [2**64 - 1], [2**62, 4, 0], [0, 2**63, 2**63],
                                     [2**61], [2**16] * 4, [3, 2**62], [1] * 20 + [2**60], [2**31, 2**31]])


def zero_size(f: File) -> None:
    f.entries, at = [], 0
    for name in f.rng.sample(NAMES, 4):
        size = f.rng.choice([0, 0, 3])
        where = [at, at + size] if size or f.rng.random() < 0.8 else [x := f.rng.randint(0, 6), x]
        f.entries.append((name, {"dtype": "U8", "shape": f.rng.choice([[size], [size, 1]]), "data_offsets": where}))
        at += size
    f.rng.shuffle(f.entries)
    f.data = bytes(at)


def rank(f: File) -> None:
    f.entries = [("t", {"dtype": "U8", "shape": [1] * f.rng.choice([8, 63, 64, 65, 66, 1000]), "data_offsets": [0, 1]})]
    f.data = b"\1"


def many(f: File) -> None:
    count = f.rng.choice([100, 1000])
    f.entries = [(f"t{i}", {"dtype": "U8", "shape": [], "data_offsets": [i, i + 1]}) for i in range(count)]
    f.rng.shuffle(f.entries)
    f.data = bytes(count + f.rng.choice([0, 0, 1]))


def root_kind(f: File) -> None:
    f.text = f.rng.choice(["[]", "null", "1", '"a"', "true", "", "{", "{}{}", "{},", '{"a"}', "{a:1}", "{'a':1}", "[{}]",
                           "{} {}", '{"a":1,}', "{,}", "//\n{}", "{}//"])
    f.data = b""


def bad_text(f: File) -> None:
    name = f.rng.choice([b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\\ud800", b"\\udc00\\ud800", b"\n", b"\0",
                         b"\x1f", b"\x7f", b"\\u00", b"\\x41", b"\\u0000", b"\\ud83d\\ude00", b"\\/", b"\xe2\x80\xa8",
                         b"\\uDEAD", b"\\", b"\xc3"])
    whole = b'{"' + name + b'":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}'
    f.header = lambda: whole
    f.data = b"\1"


def deep(f: File) -> None:
    depth = f.rng.choice([10, 120, 127, 128, 200, 5000])
    f.text = '{"t":' + "[" * depth + "]" * depth + "}"
    f.data = b""


def flipped(f: File) -> None:
    whole = bytearray(f.bytes())
    for _ in range(f.rng.randint(1, 3)):
        whole[f.rng.randrange(len(whole))] ^= 1 << f.rng.randrange(8)
    f.bytes = lambda: bytes(whole)


def cut_out(f: File) -> None:
    whole = f.bytes()
    at = f.rng.randrange(len(whole))
    f.bytes = lambda: whole[:at] + whole[at + f.rng.randint(1, 4):]


def impostor(f: File) -> None:
    begin = f.rng.choice([b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", b"<!DOCTYPE html><html>",
                          b"PK\x03\x04" + bytes(40), b"GGUF" + bytes(40), b"\x80\x02}q\0.", b"\x93NUMPY" + bytes(60), b"{}"])
    f.bytes = lambda: begin


KINDS = {
    "sound": sound, "header padded": padded, "odd padding": odd_padding, "before the header": leading,
    "header's length": header_length, "short file": short_file, "bytes after the data": trailing,
    "data truncated": truncated, "tensor named twice": tensor_twice, "metadata key twice": metadata_key_twice,
    "metadata twice": metadata_twice, "null metadata": null_metadata, "kind of metadata": metadata_kind,
    "unknown field": unknown_field, "field missing": field_missing, "field twice": field_twice, "kind of entry": entry_kind,
    "entry as a list": entry_as_list, "kind of field": field_kind, "kind of number": number_kind, "negative zero": negative_zero,
    "unknown dtype": unknown_dtype, "another dtype": wrong_size, "part of a byte": odd_bits, "offsets": offsets,
    "offsets swapped": swapped, "hole": hole, "overlap": overlap, "huge shape": huge_shape, "zero-size tensors": zero_size,
    "rank": rank, "many tensors": many, "kind of header": root_kind, "text": bad_text, "nesting": deep,
    "bits flipped": flipped, "bytes cut out": cut_out, "another format": impostor,
}


def generated(seed: int, number: int) -> tuple[str, bytes]:
    rng = random.Random(f"{seed}/{number}")
    kind = list(KINDS)[number % len(KINDS)]
    file = File(rng)
    KINDS[kind](file)
    return kind, file.bytes()
