"""The real client against the same server: it behaves as the Hub, or these tests prove nothing."""

import json
import os
import subprocess
import sys

LISTING = """
import json, sys
from huggingface_hub import HfApi
api = HfApi()
info = api.model_info("kjv/model", files_metadata=True)
metadata = api.get_safetensors_metadata("kjv/model")
tensors = {name: [i.dtype, i.shape] for f in metadata.files_metadata.values() for name, i in f.tensors.items()}
print(json.dumps({"sha": info.sha, "sizes": {s.rfilename: s.size for s in info.siblings}, "tensors": len(tensors),
                  "config": open(api.hf_hub_download("kjv/model", "config.json")).read()}))
"""


def test_the_client_reads_the_same(check, hub, tmp_path):
    environment = {**os.environ, "HF_ENDPOINT": hub.url, "SSL_CERT_FILE": str(hub.certificate),
                   "REQUESTS_CA_BUNDLE": str(hub.certificate), "HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_XET": "1"}
    process = subprocess.run([sys.executable, "-c", LISTING], env=environment, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    theirs = json.loads(process.stdout)
    ours = check("hf://kjv/model", "--json").json
    assert theirs["sha"] == ours["remote"]["commit"] and theirs["tensors"] == ours["tensors"]
    assert all(theirs["sizes"][file["name"]] == file["bytes"] for file in ours["files"])
    assert json.loads(theirs["config"])["num_hidden_layers"] == 6
