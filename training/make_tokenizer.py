"""Trains the byte-level BPE tokenizer: DeepSeek-V4's pre-tokenizer and special tokens, a vocabulary of 2,048."""

import argparse
import json
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from corpus import chapters

VOCABULARY = 2048
FIRST = ["<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜▁pad▁｜>"]
LAST = ["<｜User｜>", "<｜Assistant｜>", "<think>", "</think>", "｜DSML｜"]
SPLITS = [
    r"\p{N}{1,3}",
    "[一-龥぀-ゟ゠-ヿ]+",
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+""",
]


def train() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    splits = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in SPLITS]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [*splits, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(LAST),
        special_tokens=FIRST,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    texts = [f"{c.title}\n\n{c.text}" for c in chapters() if not c.held_out]
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in LAST])
    if tokenizer.get_vocab_size() != VOCABULARY:
        raise ValueError(f"the vocabulary has {tokenizer.get_vocab_size()} entries, not {VOCABULARY}")
    return tokenizer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path, help="directory that gets tokenizer.json and tokenizer_config.json")
    directory = parser.parse_args().output
    directory.mkdir(parents=True, exist_ok=True)
    train().save(str(directory / "tokenizer.json"))
    settings = {
        "add_bos_token": False,
        "add_eos_token": False,
        "bos_token": FIRST[0],
        "clean_up_tokenization_spaces": False,
        "eos_token": FIRST[1],
        "model_max_length": 1048576,
        "pad_token": FIRST[2],
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    (directory / "tokenizer_config.json").write_text(json.dumps(settings, ensure_ascii=False, indent=2) + "\n")


if __name__ == "__main__":
    main()
