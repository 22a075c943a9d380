"""Streams on which each layer is run alone, and the values that are compared of what it returns.

tests/model/official_layers_test.cc has the same formulas.
"""

import torch

GIVEN = 300  # positions
SAMPLE = 4  # values compared at each
DRAWS = 2  # each block runs on several given streams: see the test


def given_streams(embedding: torch.Tensor, tokens: torch.Tensor, streams: int, block: int, draw: int) -> torch.Tensor:
    """What a block is run on, [n, S, D]: stream s at position p is 2^(s - 2) times the embedding of token
    (p + 7 s + 31 block + 101 draw) mod n. Nothing has to be stored, and all streams differ."""
    n = len(tokens)
    at = (torch.arange(n)[:, None] + 7 * torch.arange(streams) + 31 * block + 101 * draw) % n
    return embedding[tokens[at]] * 2.0 ** (torch.arange(streams) - 2)[:, None].to(embedding.dtype)


def sample(streams: torch.Tensor, values: int = SAMPLE) -> torch.Tensor:
    """[n, S, D] -> [n, values]: value (13 p + j S D / values) mod S D of position p."""
    flat = streams.flatten(1)
    n, width = flat.shape
    at = (13 * torch.arange(n)[:, None] + torch.arange(values) * (width // values)) % width
    return flat.gather(1, at)


# DSpark. Stage s is block L + s, with L the number of the model's layers, and the head is block L + stages.

ANCHORS_GIVEN = (40, 299)  # f of the blocks that a stage is run on
ROW_SAMPLE = 32  # values compared of each row of a block


def given_means(embedding: torch.Tensor, tokens: torch.Tensor, targets: int, layers: int, draw: int) -> torch.Tensor:
    """What the model hands over, [n, targets*D]: the given streams of block L, one per target layer."""
    return given_streams(embedding, tokens, targets, layers, draw).flatten(1)


def given_context(embedding: torch.Tensor, tokens: torch.Tensor, block: int, draw: int) -> torch.Tensor:
    """What a stage gets from main_norm, [n, D]: the given stream 0 of its block."""
    return given_streams(embedding, tokens, 1, block, draw)[:, 0]


def given_rows(
    embedding: torch.Tensor, tokens: torch.Tensor, streams: int, block: int, draw: int, f: int, rows: int
) -> torch.Tensor:
    """The streams of a block after f, [rows, S, D]: row j is the given streams at position (f + 1 + j) mod n."""
    at = (f + 1 + torch.arange(rows)) % len(tokens)
    return given_streams(embedding, tokens, streams, block, draw)[at]
