"""Renderers: each module turns a whole `Report` into text with `render(report) -> str`, and compares no numbers."""
