"""Names that moved between releases of transformers, under that which they had first."""

from __future__ import annotations

try:
    from transformers.initialization import no_init_weights
except ImportError:  # before release 5
    from transformers.modeling_utils import no_init_weights

__all__ = ["no_init_weights"]
