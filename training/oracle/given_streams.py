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


def sample(streams: torch.Tensor) -> torch.Tensor:
    """[n, S, D] -> [n, SAMPLE]: value (13 p + j S D / SAMPLE) mod S D of position p."""
    flat = streams.flatten(1)
    n, width = flat.shape
    at = (13 * torch.arange(n)[:, None] + torch.arange(SAMPLE) * (width // SAMPLE)) % width
    return flat.gather(1, at)
