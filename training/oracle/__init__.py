"""The release's own inference code, run on a CPU: what `official` numerics are compared with."""
