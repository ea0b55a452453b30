"""The catalogue of cards: what code sees of a GPU model, and where each number comes from."""

from pytest_vramguard.cards.catalogue import Card, Catalogue, load_catalogue

__all__ = ["Card", "Catalogue", "load_catalogue"]
