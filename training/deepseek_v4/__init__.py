"""DeepSeek-V4 in PyTorch: the model that the bundled checkpoint is trained with, and its storage forms."""
