"""The GPT of LitGPT as it stood in October 2023, with LoRA or one of two adapters: which tensors live, and for how long.

Written after lit_gpt/model.py, lora.py, adapter.py and adapter_v2.py of Lightning-AI/litgpt at 8641822. What matters here:
queries, keys and values come from one layer; angles are kept in more bits than the rest, so that turned queries and keys
exist in 32 bits for a moment; root-mean-square norms work in the type of their input; LoRA of queries and values goes through
a grouped convolution and is spread over the wider result with an index; a head that is asked for pieces returns a list.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import conv1d, gelu, linear, scaled_dot_product_attention, silu

PROMPT_TOKENS = 10
FIRST_ADAPTED_LAYER = 2


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What makes a model: its sizes, and how it is adapted."""

    layers: int
    heads: int
    groups: int
    width: int
    mlp_width: int
    vocabulary: int
    context: int
    turned_share: float
    parallel: bool
    shared_norm: bool
    bias: bool
    head_bias: bool
    llama: bool
    """Root-mean-square norms and gated MLPs, instead of layer norms and GELU."""
    method: str
    """lora, adapter, adapter_v2, or inference."""
    lora: dict[str, Any] | None

    @property
    def head_width(self) -> int:
        """Width of one attention head."""
        return self.width // self.heads


class Norm(nn.Module):
    """Root-mean-square norm in single operations."""

    def __init__(self, width: int) -> None:
        """Make the scale."""
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last dimension."""
        squares = torch.mean(x * x, dim=-1, keepdim=True)
        normal = x * torch.rsqrt(squares + 1e-5)
        return self.weight * normal


class Adapted(nn.Module):
    """A linear layer with what its method adds: nothing, a low-rank product, or a bias and a scale."""

    def __init__(self, shape: Shape, inputs: int, outputs: int, *, bias: bool, place: str) -> None:
        """Make the layer; `place` is the name of its part in the LoRA settings."""
        super().__init__()
        self.linear = nn.Linear(inputs, outputs, bias=bias)
        self.scaled = shape.method == "adapter_v2"
        self.rank = shape.lora["r"] if shape.lora and shape.lora[place] else 0
        if self.scaled:
            self.adapter_bias = nn.Parameter(torch.zeros(outputs))
            self.adapter_scale = nn.Parameter(torch.ones(outputs))
        if self.rank:
            assert shape.lora
            self.lora_a = nn.Parameter(torch.zeros(self.rank, inputs))
            self.lora_b = nn.Parameter(torch.zeros(outputs, self.rank))
            self.dropout, self.factor = nn.Dropout(shape.lora["dropout"]), shape.lora["alpha"] / self.rank

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer."""
        plain: Tensor = self.linear(x)
        if self.scaled:
            return self.adapter_scale * (plain + self.adapter_bias)
        if self.rank:
            return plain + (self.dropout(x) @ self.lora_a.transpose(0, 1) @ self.lora_b.transpose(0, 1)) * self.factor
        return plain


class AdaptedQkv(nn.Module):
    """Queries, keys and values in one linear layer, with LoRA on any of the three."""

    def __init__(self, shape: Shape) -> None:
        """Make the layer."""
        super().__init__()
        assert shape.lora
        small = shape.width // (shape.heads // shape.groups)
        sizes = (shape.width, small, small)
        self.chosen = [bool(shape.lora[part]) for part in ("query", "key", "value")]
        self.outputs, self.equal = sum(sizes), shape.heads == shape.groups
        self.linear = nn.Linear(shape.width, self.outputs, bias=shape.bias)
        self.rank = shape.lora["r"] if any(self.chosen) else 0
        if self.rank:
            self.parts = [size for size, chosen in zip(sizes, self.chosen, strict=True) if chosen]
            self.lora_a = nn.Parameter(torch.zeros(self.rank * sum(self.chosen), shape.width))
            self.lora_b = nn.Parameter(torch.zeros(sum(self.parts), self.rank))
            self.dropout, self.factor = nn.Dropout(shape.lora["dropout"]), shape.lora["alpha"] / self.rank
            starts = (0, sizes[0], sizes[0] + sizes[1])
            self.columns = [
                column
                for start, size, chosen in zip(starts, sizes, self.chosen, strict=True)
                if chosen
                for column in range(start, start + size)
            ]

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer."""
        plain: Tensor = self.linear(x)
        if not self.rank:
            return plain
        inner = linear(self.dropout(x), self.lora_a).transpose(-2, -1)
        outer = self._grouped(inner, self.lora_b.unsqueeze(-1)).transpose(-2, -1)
        return plain + self._spread(outer) * self.factor

    def _grouped(self, inner: Tensor, weight: Tensor) -> Tensor:
        """Multiply each chosen part by its own matrix."""
        if self.equal:
            return conv1d(inner, weight, groups=sum(self.chosen))
        pairs = zip(inner.chunk(sum(self.chosen), dim=1), weight.split(self.parts), strict=True)
        return torch.cat([conv1d(part, matrix) for part, matrix in pairs], dim=1)

    def _spread(self, outer: Tensor) -> Tensor:
        """Put zeros where a part was not chosen."""
        if all(self.chosen):
            return outer
        swapped = outer.transpose(0, 1)
        wide = swapped.new_zeros((*swapped.shape[:-1], self.outputs)).view(-1, self.outputs)
        columns = torch.tensor(self.columns, device=wide.device)
        wide = wide.index_copy(1, columns, swapped.reshape(-1, sum(self.parts)))
        return wide.view((*swapped.shape[:-1], self.outputs)).transpose(0, 1)


class Attention(nn.Module):
    """Causal attention; an adapted layer attends to a learned prompt too."""

    def __init__(self, shape: Shape, layer: int) -> None:
        """Make the projections."""
        super().__init__()
        self.shape = shape
        outputs = (shape.heads + 2 * shape.groups) * shape.head_width
        self.attn: nn.Module = (
            AdaptedQkv(shape) if shape.lora else Adapted(shape, shape.width, outputs, bias=shape.bias, place="query")
        )
        self.proj = Adapted(shape, shape.width, shape.width, bias=shape.bias, place="projection")
        self.prompted = shape.method.startswith("adapter") and layer >= FIRST_ADAPTED_LAYER
        self.cache: tuple[Tensor, Tensor] | None = None
        self.prompt_cache: tuple[Tensor, Tensor] | None = None
        if self.prompted:
            self.adapter_wte = nn.Embedding(PROMPT_TOKENS, shape.width)
            self.gating_factor = nn.Parameter(torch.zeros(1, 1, shape.heads, 1))

    def forward(self, x: Tensor, angles: tuple[Tensor, Tensor], mask: Tensor | None, place: Tensor | None) -> Tensor:
        """Attend; with a place, through the cache of keys and values."""
        batch, tokens, width = x.shape
        q, k, v = self._split(self.attn(x), batch, tokens, repeat=self.shape.groups != 1)
        q, k = self._turned(q, angles), self._turned(k, angles)
        if place is not None and self.cache:
            k, v = self.cache[0].index_copy_(2, place, k), self.cache[1].index_copy_(2, place, v)
        y = self._attend(q, k, v, mask)
        if self.prompted:
            keys, values = self._prompt()
            seen = torch.ones(q.shape[2], PROMPT_TOKENS, dtype=torch.bool, device=q.device)
            y = y + self.gating_factor * self._attend(q, keys, values, seen)
        mixed: Tensor = self.proj(y.reshape(batch, tokens, width))
        return mixed

    def _split(self, qkv: Tensor, batch: int, tokens: int, *, repeat: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values by head."""
        shape = self.shape
        per_group = shape.heads // shape.groups
        qkv = qkv.view(batch, tokens, shape.groups, per_group + 2, shape.head_width).permute(0, 2, 3, 1, 4)
        q, k, v = qkv.split((per_group, 1, 1), dim=2)
        if repeat:
            wide = (batch, shape.groups, per_group, tokens, shape.head_width)
            k, v = k.expand(wide), v.expand(wide)
        q, k, v = (part.reshape(batch, -1, tokens, shape.head_width) for part in (q, k, v))
        return q, k, v

    def _turned(self, x: Tensor, angles: tuple[Tensor, Tensor]) -> Tensor:
        """Turn the first features of each head by the angle of its place."""
        cos, sin = angles
        count = int(self.shape.turned_share * self.shape.head_width)
        first = x[..., :count]
        half = count // 2
        swapped = torch.cat((-first[..., half:], first[..., :half]), dim=-1)
        turned = ((first * cos) + (swapped * sin)).type_as(first)
        return torch.cat((turned, x[..., count:]), dim=-1)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        """Return what the heads found, heads beside each other."""
        scale = self.shape.head_width**-0.5
        found = scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=0.0, scale=scale, is_causal=mask is None)
        return found.transpose(1, 2)

    def _prompt(self) -> tuple[Tensor, Tensor]:
        """Return keys and values of the prompt; made once, in the first evaluation, and kept, as the source does."""
        if self.prompt_cache is None:
            prefix = self.adapter_wte.weight.reshape(1, PROMPT_TOKENS, self.shape.width)
            _, k, v = self._split(self.attn(prefix), 1, PROMPT_TOKENS, repeat=True)
            self.prompt_cache = (k, v)
        return self.prompt_cache


class Mlp(nn.Module):
    """The feed-forward part."""

    def __init__(self, shape: Shape) -> None:
        """Make the layers."""
        super().__init__()
        self.gated = shape.llama
        self.fc_1 = Adapted(shape, shape.width, shape.mlp_width, bias=shape.bias, place="mlp")
        if self.gated:
            self.fc_2 = Adapted(shape, shape.width, shape.mlp_width, bias=shape.bias, place="mlp")
        self.proj = Adapted(shape, shape.mlp_width, shape.width, bias=shape.bias, place="mlp")

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layers."""
        first = self.fc_1(x)
        if self.gated:
            second = self.fc_2(x)
            first = silu(first) * second
        else:
            first = gelu(first)
        out: Tensor = self.proj(first)
        return out


class Block(nn.Module):
    """One layer."""

    def __init__(self, shape: Shape, layer: int) -> None:
        """Make its parts."""
        super().__init__()
        self.shape = shape
        self.norm_1 = _norm(shape)
        self.attn = Attention(shape, layer)
        self.norm_2 = None if shape.shared_norm else _norm(shape)
        self.mlp = Mlp(shape)

    def forward(self, x: Tensor, angles: tuple[Tensor, Tensor], mask: Tensor | None, place: Tensor | None) -> Tensor:
        """Pass attention and MLP, beside or after each other."""
        normal = self.norm_1(x)
        found = self.attn(normal, angles, mask, place)
        if self.shape.parallel:
            second = normal if self.norm_2 is None else self.norm_2(x)
            out: Tensor = x + found + self.mlp(second)
            return out
        assert self.norm_2
        x = x + found
        return x + self.mlp(self.norm_2(x))  # type: ignore[no-any-return]


class Gpt(nn.Module):
    """The model."""

    def __init__(self, shape: Shape) -> None:
        """Make it; the head comes first."""
        super().__init__()
        self.shape = shape
        self.lm_head = Adapted(shape, shape.width, shape.vocabulary, bias=shape.head_bias, place="head")
        self.wte = nn.Embedding(shape.vocabulary, shape.width)
        self.blocks = nn.ModuleList(Block(shape, layer) for layer in range(shape.layers))
        self.ln_f = _norm(shape)
        self.mask: Tensor | None = None
        self.limit(shape.context)

    def limit(self, tokens: int) -> None:
        """Make the angles for so many tokens: in 16 bits while the model is made in 16 bits, or else in 32."""
        self.tokens = tokens
        count = int(self.shape.turned_share * self.shape.head_width)
        device = self.wte.weight.device
        steps = 1.0 / (10000 ** (torch.arange(0, count, 2, device=device) / count))
        angles = torch.outer(torch.arange(tokens, device=device) / 1, steps).repeat(1, 2)
        cos, sin = torch.cos(angles), torch.sin(angles)
        if torch.get_default_dtype() in (torch.float16, torch.bfloat16):
            cos, sin = cos.half(), sin.half()
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def open_cache(self, dtype: torch.dtype) -> None:
        """Make room for keys and values of one sequence, and the mask that is needed with it."""
        shape, device = self.shape, self.wte.weight.device
        heads = 1 if shape.groups == 1 else shape.heads
        for block in self.blocks:
            room = (1, heads, self.tokens, shape.head_width)
            block.attn.cache = (torch.zeros(room, device=device, dtype=dtype), torch.zeros(room, device=device, dtype=dtype))
        ones = torch.ones((self.tokens, self.tokens), device=device, dtype=torch.bool)
        self.mask = torch.tril(ones).unsqueeze(0).unsqueeze(0)

    def close_cache(self) -> None:
        """Give the room back."""
        self.mask = None
        for block in self.blocks:
            block.attn.cache = None

    def forward(self, ids: Tensor, place: Tensor | None = None, pieces: int = 0) -> Tensor | list[Tensor]:
        """Return the logits, in pieces of so many tokens if asked."""
        angles, mask = (self.cos[: ids.shape[1]], self.sin[: ids.shape[1]]), None
        if place is not None:
            assert self.mask is not None
            angles = (self.cos.index_select(0, place), self.sin.index_select(0, place))
            mask = self.mask.index_select(2, place)
        x = self.wte(ids)
        for block in self.blocks:
            x = block(x, angles, mask, place)
        x = self.ln_f(x)
        if pieces:
            return [self.lm_head(piece) for piece in x.split(pieces, dim=1)]
        logits: Tensor = self.lm_head(x)
        return logits


def _norm(shape: Shape) -> nn.Module:
    """Make a norm."""
    return Norm(shape.width) if shape.llama else nn.LayerNorm(shape.width)
