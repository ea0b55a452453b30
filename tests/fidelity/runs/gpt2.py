"""Pre-training of a GPT-2 written from scratch, its attention, layer norm and activation written out or PyTorch's own.

The structure is that of ch05/10_llm-training-speed in rasbt/LLMs-from-scratch (read at 9a89948 and c9271ac): which tensors
live, and for how long, is what this repeats.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

TRAINING_STEPS = 4
EVALUATION_BATCHES = 1


class WrittenOutNorm(nn.Module):
    """Layer norm in single operations."""

    def __init__(self, width: int) -> None:
        """Make scale and shift."""
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))
        self.shift = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last dimension."""
        mean = x.mean(dim=-1, keepdim=True)
        variance = x.var(dim=-1, keepdim=True, unbiased=False)
        normal = (x - mean) / torch.sqrt(variance + 1e-5)
        return self.scale * normal + self.shift


class WrittenOutGelu(nn.Module):
    """GELU by its tangent, in single operations."""

    def forward(self, x: Tensor) -> Tensor:
        """Apply it; the factor is made on the host, as the source does."""
        factor = torch.sqrt(torch.tensor(2.0 / torch.pi, device=x.device))
        return 0.5 * x * (1 + torch.tanh(factor * (x + 0.044715 * torch.pow(x, 3))))


class Attention(nn.Module):
    """Causal attention; `sdpa` takes PyTorch's, or else the scores are written out and masked on the fly."""

    def __init__(self, width: int, heads: int, dropout: float, *, sdpa: bool) -> None:
        """Make the four projections."""
        super().__init__()
        self.heads, self.sdpa, self.rate = heads, sdpa, dropout
        self.query, self.key, self.value = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.out = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Attend."""
        batch, tokens, width = x.shape
        keys, queries, values = self.key(x), self.query(x), self.value(x)
        split = (batch, tokens, self.heads, width // self.heads)
        keys, values, queries = (part.view(split).transpose(1, 2) for part in (keys, values, queries))
        if self.sdpa:
            context = nn.functional.scaled_dot_product_attention(
                queries, keys, values, attn_mask=None, dropout_p=self.rate if self.training else 0.0, is_causal=True
            )
            context = context.transpose(1, 2).contiguous().view(batch, tokens, width)
            mixed: Tensor = self.out(context)
            return mixed
        scores = queries @ keys.transpose(2, 3)
        mask = torch.triu(torch.ones(tokens, tokens, device=x.device), diagonal=1).bool()
        scores.masked_fill_(mask, -torch.inf)
        weights = torch.softmax(scores / keys.shape[-1] ** 0.5, dim=-1)
        weights = self.dropout(weights)
        context = (weights @ values).transpose(1, 2)
        context = context.reshape(batch, tokens, width)
        attended: Tensor = self.out(context)
        return attended


class Block(nn.Module):
    """One layer."""

    def __init__(self, settings: dict[str, Any]) -> None:
        """Make its parts."""
        super().__init__()
        width, own = settings["emb"], settings["layernorm_gelu"] == "from scratch"
        sdpa = settings["attention"] == "scaled_dot_product_attention"
        self.att = Attention(width, settings["heads"], settings["dropout"], sdpa=sdpa)
        gelu = WrittenOutGelu() if own else nn.GELU(approximate="tanh")
        self.ff = nn.Sequential(nn.Linear(width, 4 * width), gelu, nn.Linear(4 * width, width))
        self.norm1, self.norm2 = (WrittenOutNorm(width) if own else nn.LayerNorm(width) for _ in range(2))
        self.drop = nn.Dropout(settings["dropout"])

    def forward(self, x: Tensor) -> Tensor:
        """Pass attention and feed-forward, each past a shortcut."""
        shortcut = x
        x = self.norm1(x)
        x = self.att(x)
        x = self.drop(x)
        x = x + shortcut
        shortcut = x
        x = self.norm2(x)
        x = self.ff(x)
        x = self.drop(x)
        return x + shortcut


class Gpt(nn.Module):
    """The model."""

    def __init__(self, settings: dict[str, Any]) -> None:
        """Make it."""
        super().__init__()
        width = settings["emb"]
        self.tokens = nn.Embedding(settings["vocab"], width)
        self.positions = nn.Embedding(settings["context"], width)
        self.drop = nn.Dropout(settings["dropout"])
        self.blocks = nn.Sequential(*[Block(settings) for _ in range(settings["layers"])])
        own = settings["layernorm_gelu"] == "from scratch"
        self.norm = WrittenOutNorm(width) if own else nn.LayerNorm(width)
        self.head = nn.Linear(width, settings["vocab"], bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        """Return the logits."""
        tokens = self.tokens(ids)
        positions = self.positions(torch.arange(ids.shape[1], device=ids.device))
        x = tokens + positions
        x = self.drop(x)
        x = self.blocks(x)
        x = self.norm(x)
        logits: Tensor = self.head(x)
        return logits


def run(settings: dict[str, Any]) -> dict[str, Any]:
    """Train some steps with an evaluation after the first, as the source does; return the bytes reserved at the end."""
    if settings.get("tf32"):
        torch.set_float32_matmul_precision("high")
    model: Any = Gpt(settings)
    model.to("cuda")
    if settings["dtype"] == "bf16":
        model.to(torch.bfloat16)
    if settings.get("compile"):
        model = torch.compile(model)
    fused = "fused" in settings["optimizer"]
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-4, weight_decay=0.1, fused=fused)
    for step in range(TRAINING_STEPS):
        optimizer.zero_grad()
        loss = _loss(model, settings)
        loss.backward()
        optimizer.step()
        if step == 0:
            model.eval()
            with torch.no_grad():
                for _ in range(2 * EVALUATION_BATCHES):
                    _loss(model, settings)
            model.train()
    return {"reserved_bytes": torch.cuda.memory_reserved(), "max_allocated_bytes": torch.cuda.max_memory_allocated()}


def _loss(model: Any, settings: dict[str, Any]) -> Tensor:
    """Return the loss of one batch."""
    shape = (settings["batch_size"], settings["context"])
    ids, targets = torch.randint(0, 50257, shape).to("cuda"), torch.randint(0, 50257, shape).to("cuda")
    logits = model(ids)
    return nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
