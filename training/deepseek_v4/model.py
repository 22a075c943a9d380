"""DeepSeek-V4 with its MTP block or DSpark. Modules have the official parameter names, up to mHC's (checkpoint.py)."""

import torch
from torch import nn

from .config import WINDOW, Config
from .dspark import DSpark
from .layers import Attention, Block, Compressor, Gate, HyperConnection, HyperHead, Indexer, Linear, RMSNorm


class MtpBlock(Block):
    """Predicts the token at p+2 from the model's streams at p and the token at p+1."""

    def __init__(self, config: Config):
        super().__init__(config, WINDOW, False)
        self.enorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.hnorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.e_proj = Linear(config, config.hidden_size, config.hidden_size, "fp8")
        self.h_proj = Linear(config, config.hidden_size, config.hidden_size, "fp8")
        self.hc_head = HyperHead(config)

    def forward(self, h, embedded, tokens):
        """h [B,T,S,D] streams at p, embedded [B,T,D] and tokens [B,T] of p+1 -> streams [B,T,S,D]."""
        x = self.e_proj(self.enorm(embedded))[:, :, None] + self.h_proj(self.hnorm(h))
        return super().forward(x, tokens)


class Model(nn.Module):
    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(
            Block(config, config.ratio(i), i < config.num_hash_layers) for i in range(config.num_hidden_layers)
        )
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.hc_head = HyperHead(config)
        self.head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        if config.dspark_block_size:
            self.mtp = DSpark(config)
        else:
            self.mtp = nn.ModuleList(MtpBlock(config) for _ in range(config.num_nextn_predict_layers))

    def set_official(self, official: bool) -> None:
        for module in self.modules():
            if isinstance(module, (Linear, Attention, Compressor, Indexer)):
                module.official = official

    def set_quantizer(self, quantize) -> None:
        for module in self.modules():
            if isinstance(module, Linear):
                module.quantize = quantize

    def streams(self, tokens, after_each_layer: list | None = None):
        """tokens [B,T] -> the residual streams before hc_head, [B,T,S,D]."""
        h = self.embed(tokens)[:, :, None].expand(-1, -1, self.config.hc_mult, -1)
        for layer in self.layers:
            h = layer(h, tokens)
            if after_each_layer is not None:
                after_each_layer.append(h)
        return h

    def logits(self, h):
        return self.head(self.norm(self.hc_head(h)))

    def mtp_streams(self, h, tokens, i: int = 0):
        """h [B,T,S,D] at positions 0..T-1 and the tokens [B,T] one position later."""
        return self.mtp[i](h, self.embed(tokens), tokens)

    def mtp_logits(self, h, i: int = 0):
        return self.head(self.mtp[i].norm(self.mtp[i].hc_head(h)))

    def forward(self, tokens):
        return self.logits(self.streams(tokens))

    @torch.no_grad()
    def initialize(self, generator: torch.Generator) -> None:
        """Random values; residual streams start apart, each sublayer reading mostly one of them."""
        for name, parameter in self.named_parameters():
            if parameter.dim() < 2 or name.endswith(".ape"):
                continue
            deviation = parameter.shape[-1] ** -0.5
            if name.endswith(("wo_b.weight", "w2.weight")):
                deviation *= 0.3
            elif name in ("embed.weight",):
                deviation = 0.5
            elif name.endswith(".fn"):
                deviation = 0.02
            elif name == "head.weight":
                deviation = 0.01
            parameter.normal_(0.0, deviation, generator=generator)
        s = self.config.hc_mult
        sublayers = [m for m in self.modules() if isinstance(m, HyperConnection)]
        for i, connection in enumerate(sublayers):
            connection.base[:s] = -1.5
            connection.base[i % s] = 1.5
            connection.base[2 * s :] = 4.0 * torch.eye(s).flatten()
        experts, chosen = self.config.n_routed_experts, self.config.num_experts_per_tok
        for module in self.modules():
            if isinstance(module, Gate) and module.tid2eid is not None:
                order = torch.rand(self.config.vocab_size, experts, generator=generator).argsort(-1)
                module.tid2eid.copy_(order[:, :chosen])
