"""Renderers: each module turns results, or the catalogue, into text with a pure `render`, and compares no numbers."""
