"""Which modules and lines a change of the peak is blamed on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_vramguard.gates.blame import blamed_modules, blamed_sites
from pytest_vramguard.units import MIB
from tests import samples

if TYPE_CHECKING:
    from pytest_vramguard.reading import Origins, SiteBytes


def modules(**sizes: int) -> Origins:
    """Return origins with these MiB by module; `__` stands for the dot, `_each` for the numbers."""
    named = {name.replace("__", ".").replace("_each", "*"): size * MIB for name, size in sizes.items()}
    return samples.origins(modules=tuple(named.items()))


def sites(*held: SiteBytes, other_bytes: int = 0) -> Origins:
    """Return origins with these sites."""
    return samples.origins(sites=held, other_sites_bytes=other_bytes)


@pytest.mark.parametrize(
    ("before", "now", "blamed"),
    [
        (modules(lm_head=10), modules(lm_head=30), [("lm_head", 20)]),
        # As far inside as four fifths of the growth go: three projections share it.
        (
            modules(model__layers___each__attn__q=9, model__layers___each__mlp__up=1),
            modules(
                model__layers___each__attn__q=10,
                model__layers___each__mlp__up=11,
                model__layers___each__mlp__down=10,
                model__layers___each__mlp__gate=10,
            ),
            [("model.layers.*.mlp", 30)],
        ),
        # A module that grew itself, and not by what is in it.
        (modules(model=1, model__norm=1), modules(model=21, model__norm=2), [("model", 21)]),
        # Two that share the growth of the whole, and a third that hardly grew.
        (modules(a__x=1, b__y=1, c=1), modules(a__x=61, b__y=51, c=2), [("a.x", 60), ("b.y", 50)]),
        # What shrank elsewhere hides nothing.
        (modules(model=50, lm_head=10), modules(model=20, lm_head=50), [("lm_head", 40)]),
        (modules(), modules(adapter=10), [("adapter", 10)]),
    ],
)
def test_modules_that_grew(before: Origins, now: Origins, blamed: list[tuple[str, int]]) -> None:
    """The innermost module that most of the growth lies in is named with all that grew inside of it."""
    changes = blamed_modules(before, now, 20 * MIB)

    assert [(name, grown * MIB) for name, grown in blamed] == [(change.name, change.growth_bytes) for change in changes]


def test_modules_that_shrank() -> None:
    """Where the peak fell, what fell with it is named."""
    changes = blamed_modules(modules(a=30, b=1), modules(a=10, b=2), -19 * MIB)

    assert [("a", -20 * MIB)] == [(change.name, change.growth_bytes) for change in changes]


@pytest.mark.parametrize(("grown_bytes", "count"), [(5 * MIB, 0), (5 * MIB + 512, 1)])
def test_what_is_small_beside_the_change_is_not_named(grown_bytes: int, count: int) -> None:
    """Up to a twentieth of the peak's change is passed over."""
    now = sites(samples.site_bytes("a.py:1 in f", grown_bytes))

    assert count == len(blamed_sites(sites(), now, 100 * MIB))


def test_a_line_that_moved_is_the_same() -> None:
    """Functions and the text of the line say which it is; its number, and that of the library's line, may change."""
    before = sites(samples.site_bytes("a.py:7 in f", 10 * MIB, code="x = g(y)", library="lib/g.py:3 in g"))
    now = sites(
        samples.site_bytes("a.py:8 in f", 12 * MIB, code="x = g(y)", library="lib/g.py:5 in g"),
        samples.site_bytes("a.py:7 in f", 4 * MIB, code="y = y.float()", library="lib/g.py:3 in g"),
    )

    changes = blamed_sites(before, now, 6 * MIB)

    assert [
        ("a.py:7 in f: y = y.float() (lib/g.py:3 in g)", 0, 4 * MIB),
        ("a.py:8 in f: x = g(y) (lib/g.py:5 in g)", 10 * MIB, 12 * MIB),
    ] == [(change.name, change.before_bytes, change.now_bytes) for change in changes]


def test_a_site_below_the_end_of_the_list_held_no_more_than_the_last() -> None:
    """What is new in a list that is not whole is blamed for no more than it surely grew."""
    before = sites(samples.site_bytes("a.py:1 in f", 8 * MIB), other_bytes=512)
    now = sites(samples.site_bytes("a.py:1 in f", 8 * MIB), samples.site_bytes("b.py:1 in g", 20 * MIB))

    (change,) = blamed_sites(before, now, 20 * MIB)

    assert ("b.py:1 in g", 12 * MIB) == (change.name, change.growth_bytes)


def test_equal_lines_of_one_function_are_one() -> None:
    """The same text twice in a function is summed, so that a line that is written once more has grown."""
    line = samples.site_bytes("a.py:1 in f", 8 * MIB, code="x = g(x)")
    again = samples.site_bytes("a.py:2 in f", 8 * MIB, code="x = g(x)")

    (change,) = blamed_sites(sites(line), sites(line, again), 8 * MIB)

    assert 8 * MIB == change.growth_bytes
