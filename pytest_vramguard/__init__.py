"""Unit tests for GPU memory: fail when a fine-tuning recipe no longer fits its card, also where there is no GPU."""

__version__ = "0.1.0"
