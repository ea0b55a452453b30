"""Which modules and which lines a change of the allocated peak lies in."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Final

from pytest_vramguard.baseline import SizeChange

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from pytest_vramguard.reading import Origins, Site

MOST_NAMED: Final = 2
"""Modules, and lines, that are named."""
MOST_OF: Final = 0.8
"""Share of a module's change above which it is that of the one inside."""
WORTH_NAMING: Final = 0.05
"""Share of the peak's change below which a module or a line is not named."""
_LINE_NUMBER: Final = re.compile(r":\d+(?= in )")


def blamed_modules(before: Origins, now: Origins, change_bytes: int) -> tuple[SizeChange, ...]:
    """Return the modules in which most of a change of the peak by `change_bytes` lies, each as far inside as it can be told."""
    was, is_now = dict(before.modules), dict(now.modules)
    changes = {path: (was.get(path, 0), is_now.get(path, 0)) for path in {**was, **is_now}}
    sign = 1 if change_bytes > 0 else -1
    growth = {path: sign * (after - former) for path, (former, after) in changes.items()}
    return _worth_naming((_within(path, changes) for path in _innermost("", growth)), change_bytes)


def blamed_sites(before: Origins, now: Origins, change_bytes: int) -> tuple[SizeChange, ...]:
    """Return the sites in which most of a change of the peak by `change_bytes` lies; their names are texts of today.

    A site is the same as long as its functions and the text of its line are; the numbers of lines may change. One
    that is only in one of both lists held at most as much as the last of the other list, and is taken to have held that.
    """
    was, is_now = _sizes(before), _sizes(now)
    texts = {key: site.text for origins in (before, now) for key, site in _keyed(origins)}
    changes = [
        SizeChange(
            name=text,
            before_bytes=was.get(key, min(is_now[key], _unlisted(before))),
            now_bytes=is_now.get(key, min(was[key], _unlisted(now))),
        )
        for key, text in texts.items()
    ]
    return _worth_naming(changes, change_bytes)


def _innermost(path: str, growth: Mapping[str, int]) -> Iterator[str]:
    """Yield the innermost module in `path` that most of its growth lies in; of the whole, the two that grew most."""
    inside = Counter[str]()
    for name, grown in growth.items():
        if _is_in(name, path) and name != path:
            inside[name[: _end_of_step(name, path)]] += grown
    total = sum(grown for name, grown in growth.items() if _is_in(name, path))
    largest = inside.most_common(MOST_NAMED)
    if largest and largest[0][1] >= MOST_OF * total:
        yield from _innermost(largest[0][0], growth)
    elif path:
        yield path
    else:
        for name, _grown in largest:
            yield from _innermost(name, growth)


def _end_of_step(name: str, path: str) -> int | None:
    """Return where the first step of `name` below `path` ends; None at the end of the name."""
    end = name.find(".", len(path) + 1)
    return None if end < 0 else end


def _is_in(name: str, path: str) -> bool:
    return not path or name == path or name.startswith(f"{path}.")


def _within(path: str, changes: Mapping[str, tuple[int, int]]) -> SizeChange:
    inside = [sizes for name, sizes in changes.items() if _is_in(name, path)]
    return SizeChange(name=path, before_bytes=sum(was for was, _ in inside), now_bytes=sum(now for _, now in inside))


def _worth_naming(changes: Iterable[SizeChange], change_bytes: int) -> tuple[SizeChange, ...]:
    """Return the changes that go the way of the whole and are not small beside it, the largest first."""
    sign = 1 if change_bytes > 0 else -1
    named = [change for change in changes if sign * change.growth_bytes > WORTH_NAMING * abs(change_bytes)]
    return tuple(sorted(named, key=lambda change: -sign * change.growth_bytes)[:MOST_NAMED])


def _sizes(origins: Origins) -> Counter[tuple[str, ...]]:
    sizes = Counter[tuple[str, ...]]()
    for (key, _site), held in zip(_keyed(origins), origins.sites, strict=True):
        sizes[key] += held.size_bytes
    return sizes


def _keyed(origins: Origins) -> Iterator[tuple[tuple[str, ...], Site]]:
    """Yield each site with what it is known by in another version of the code."""
    for held in origins.sites:
        site = held.site
        yield (_LINE_NUMBER.sub("", site.line), site.code, _LINE_NUMBER.sub("", site.library), site.module), site


def _unlisted(origins: Origins) -> int:
    """Return the most that a site could have held that is not in the list."""
    return min((held.size_bytes for held in origins.sites), default=0) if origins.other_sites_bytes else 0
