"""Outrider's reader of safetensors accepts what the package accepts, and refuses what it refuses."""

import pytest

pytest.importorskip("safetensors")
import generated_safetensors  # noqa: E402  pylint: disable=wrong-import-position
import safetensors_verdicts  # noqa: E402  pylint: disable=wrong-import-position


def test_agree_on_generated_files():
    binary = safetensors_verdicts.ROOT / "build/release/outrider"
    verdicts = safetensors_verdicts.compare(binary, 14 * len(generated_safetensors.KINDS), seed=2)
    assert not safetensors_verdicts.differences(verdicts)
    for kind in safetensors_verdicts.STRICTER:  # each of these has files on which the two differ
        assert any(v["kind"] == kind and v["ours"] and not v["theirs"] for v in verdicts), kind
    assert sum(not v["ours"] for v in verdicts) > 50
