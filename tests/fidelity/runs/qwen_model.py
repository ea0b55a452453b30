"""The first Qwen, as its own modelling file of late 2023 builds it: which tensors live, and for how long.

Written after modeling_qwen.py of Qwen/Qwen-7B-Chat. What matters here: queries, keys and values come from one layer with a
bias, they are turned in 32 bits, attention is FlashAttention's (PyTorch's stands for it, which keeps the same tensors), norms
are written out in 32 bits, layers are checkpointed the reentrant way, and the loss is computed in one piece from a copy of
the logits without the last token.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, scaled_dot_product_attention, silu
from torch.utils.checkpoint import checkpoint
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput


class QwenConfig(PretrainedConfig):
    """Sizes of a model."""

    model_type = "qwen-of-2023"

    def __init__(self, **sizes: int) -> None:
        """Keep `layers`, `heads`, `width`, `mlp_width`, `vocabulary` and `context`."""
        super().__init__(**sizes)
        self.hidden_size = sizes.get("width", 0)


class Norm(nn.Module):
    """Root-mean-square norm, computed in 32 bits."""

    def __init__(self, width: int) -> None:
        """Make the scale."""
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last dimension."""
        wide = x.float()
        normal = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-6)
        return normal.type_as(x) * self.weight


class Attention(nn.Module):
    """Causal attention."""

    def __init__(self, config: Any) -> None:
        """Make the two projections."""
        super().__init__()
        self.heads, self.width = config.heads, config.width
        self.c_attn = nn.Linear(config.width, 3 * config.width)
        self.c_proj = nn.Linear(config.width, config.width, bias=False)

    def forward(self, x: Tensor, angles: Tensor) -> Tensor:
        """Attend."""
        batch, tokens, width = x.shape
        split = (batch, tokens, self.heads, width // self.heads)
        q, k, v = (part.view(split) for part in self.c_attn(x).split(width, dim=2))
        q, k = _turned(q, angles), _turned(k, angles)
        q, k, v = (part.transpose(1, 2) for part in (q, k, v))
        found = scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(batch, tokens, width)
        mixed: Tensor = self.c_proj(found)
        return mixed


def _turned(x: Tensor, angles: Tensor) -> Tensor:
    """Turn the features by the angle of their place, in 32 bits."""
    wide = x.float()
    half = wide.shape[-1] // 2
    swapped = torch.cat((-wide[..., half:], wide[..., :half]), dim=-1)
    turned = (wide * angles.cos()) + (swapped * angles.sin())
    return turned.type_as(x)


class Mlp(nn.Module):
    """The feed-forward part."""

    def __init__(self, config: Any) -> None:
        """Make the layers."""
        super().__init__()
        self.w1 = nn.Linear(config.width, config.mlp_width, bias=False)
        self.w2 = nn.Linear(config.width, config.mlp_width, bias=False)
        self.c_proj = nn.Linear(config.mlp_width, config.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layers."""
        first, second = self.w1(x), self.w2(x)
        out: Tensor = self.c_proj(first * silu(second))
        return out


class Block(nn.Module):
    """One layer."""

    def __init__(self, config: Any) -> None:
        """Make its parts."""
        super().__init__()
        self.ln_1, self.ln_2 = Norm(config.width), Norm(config.width)
        self.attn, self.mlp = Attention(config), Mlp(config)

    def forward(self, x: Tensor, angles: Tensor) -> Tensor:
        """Pass attention and MLP."""
        x = self.attn(self.ln_1(x), angles) + x
        out: Tensor = x + self.mlp(self.ln_2(x))
        return out


class Qwen(PreTrainedModel):
    """The model with its head."""

    config_class = QwenConfig
    supports_gradient_checkpointing = True

    def __init__(self, config: Any) -> None:
        """Make it."""
        super().__init__(config)
        self.wte = nn.Embedding(config.vocabulary, config.width)
        self.h = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.ln_f = Norm(config.width)
        self.lm_head = nn.Linear(config.width, config.vocabulary, bias=False)
        self.checkpointed = False

    def get_input_embeddings(self) -> nn.Module:
        """Return the embedding, for PEFT."""
        return self.wte

    def get_output_embeddings(self) -> nn.Module:
        """Return the head, for PEFT."""
        return self.lm_head

    def gradient_checkpointing_enable(self, **_: Any) -> None:
        """Checkpoint layers from now on."""
        self.checkpointed = True

    def prepare_inputs_for_generation(self, **inputs: Any) -> Any:
        """Exist, for PEFT."""
        return inputs

    def forward(self, input_ids: Tensor, labels: Tensor, **_: Any) -> CausalLMOutput:
        """Return the loss and the logits."""
        x = self.wte(input_ids)
        width, places = self.config.width // self.config.heads, torch.arange(x.shape[1], device=x.device)
        steps = 1.0 / (10000 ** (torch.arange(0, width, 2, device=x.device).float() / width))
        angles = torch.outer(places.float(), steps).repeat(1, 2)[None, :, None, :]
        for block in self.h:
            x = checkpoint(block, x, angles, use_reentrant=True) if self.checkpointed and self.training else block(x, angles)
        logits = self.lm_head(self.ln_f(x))
        shifted, wanted = logits[..., :-1, :].contiguous(), labels[..., 1:].contiguous()
        loss = cross_entropy(shifted.view(-1, shifted.size(-1)), wanted.view(-1))
        return CausalLMOutput(loss=loss, logits=logits)
