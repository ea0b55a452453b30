"""Sizes of Llamas, under the names that `config.json` has for them, for the releases of transformers that rows were run with.

The catalogue of the package has keys of today's releases, which older ones do not read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping


def llama(layers: int, width: int, mlp_width: int, heads: int, groups: int) -> dict[str, Any]:
    """Return the config of a Llama."""
    return {
        "model_type": "llama",
        "vocab_size": 32000,
        "hidden_size": width,
        "intermediate_size": mlp_width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": groups,
        "max_position_embeddings": 4096,
    }


YIS: Final[Mapping[str, Mapping[str, Any]]] = {
    "yi-6b": {**llama(32, 4096, 11008, 32, 4), "vocab_size": 64000},
    "yi-34b": {**llama(60, 7168, 20480, 56, 8), "vocab_size": 64000},
}
"""Source: config.json of 01-ai/Yi-6B and Yi-34B on the Hugging Face hub."""
