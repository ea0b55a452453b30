"""The catalogue of models, and the small tokenizer for those whose own is not on disk."""

from __future__ import annotations

from pathlib import Path

from pytest_vramguard.models.catalogue import ModelCatalogue, ModelFacts, load_models

__all__ = ["ModelCatalogue", "ModelFacts", "load_models", "tokenizer_folder"]


def tokenizer_folder() -> Path:
    """Return the folder of the shipped tokenizer, which `transformers.AutoTokenizer.from_pretrained` loads.

    It knows 2,048 tokens, so its ids are valid for every model of the catalogue. The README in the folder says how it was made.
    """
    return Path(__file__).with_name("tokenizer")
