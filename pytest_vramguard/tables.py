"""Read TOML and JSON tables into typed values, with every fault of a file located and raised at once.

    with reading(path, RecipeError) as root:
        training = root.table("training")
        steps = training.integer("max_steps", default=3, minimum=1)
        training.refuse_unknown(("max_steps",))

A fault never stops the reading: the getter notes it and returns a blank of the right type, and leaving the `with` block raises
one error that holds all faults. Inside the block values may be put into plain data; only after it may they be trusted.
"""

from __future__ import annotations

import re
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from pytest_vramguard.errors import VramguardError

T = TypeVar("T")
D = TypeVar("D")


class Required(Enum):
    """The default of a key that has none; an enum, so that type checkers tell it from every real default."""

    REQUIRED = "required"


REQUIRED: Final = Required.REQUIRED


@dataclass(frozen=True, slots=True)
class _Kind(Generic[T]):
    """A type of value that a key can have."""

    noun: str
    """What was expected, in the words of an error: `an integer`."""
    plural: str
    accepts: Callable[[Any], bool]
    """Whether a value is of this kind; true and false are no numbers."""
    blank: T
    """What a getter returns in place of a faulty value."""

    def limited(self, words: str, fits: Callable[[Any], bool]) -> _Kind[T]:
        """Return this kind, but only those values that fit; `words` follow the noun."""
        return _Kind(f"{self.noun} {words}", self.plural, lambda value: self.accepts(value) and fits(value), self.blank)


def _is_finite(value: object) -> bool:
    """Return whether `value` is a number that a float can hold."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


_INTEGER: Final = _Kind("an integer", "integers", lambda value: isinstance(value, int) and not isinstance(value, bool), 0)
_NUMBER: Final = _Kind("a number", "numbers", _is_finite, 0.0)
_BOOLEAN: Final = _Kind("true or false", "booleans", lambda value: isinstance(value, bool), blank=False)
_STRING: Final = _Kind("a non-empty string", "strings", lambda value: isinstance(value, str) and value != "", "")
_NO_KEYS: Final[Mapping[str, Any]] = {}
_TABLE: Final = _Kind("a table", "tables", lambda value: isinstance(value, dict), _NO_KEYS)
_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+(\[\d+\])*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A mapping that is read key by key and knows its place, so that each fault prints with its path.

    A getter without `default` asks for a key that must be there. `null` in JSON counts as absent.
    """

    mapping: Mapping[str, Any]
    source: str
    """Name of the file, or of whatever else the mapping came from."""
    path: str = ""
    """Path of keys down to this table, as in `cards[3]`; empty at the root."""
    faults: list[str] = field(default_factory=list)
    """The faults of the whole file so far, shared by all of its tables."""

    def fault(self, key: str, text: str) -> None:
        """Note that `key` is wrong; `text` says what was found and what was expected."""
        self.faults.append(f"{self.source}: {_joined(self.path, key)}: {text}")

    def refuse_unknown(self, known: Iterable[str]) -> None:
        """Note a fault for each key that is not in `known`, with the known keys and the nearest of them."""
        known = tuple(known)
        for key in self.mapping:
            if key not in known:
                self.fault(key, f"unknown key, expected one of {', '.join(known)}{did_you_mean(key, known)}")

    def integer(self, key: str, default: D | Required = REQUIRED, *, minimum: int | None = None) -> int | D:
        """Return a whole number that is not below `minimum`."""
        kind = _INTEGER if minimum is None else _INTEGER.limited(f"of at least {minimum}", lambda value: value >= minimum)
        return self._value(key, default, kind)

    def number(self, key: str, default: D | Required = REQUIRED, *, above: float | None = None) -> float | D:
        """Return a finite number that is larger than `above`."""
        kind = _NUMBER if above is None else _NUMBER.limited(f"above {above}", lambda value: value > above)
        return self._value(key, default, kind)

    def boolean(self, key: str, default: D | Required = REQUIRED) -> bool | D:
        """Return true or false; 0 and 1 are faults."""
        return self._value(key, default, _BOOLEAN)

    def string(self, key: str, default: D | Required = REQUIRED) -> str | D:
        """Return a string; an empty one is a fault."""
        return self._value(key, default, _STRING)

    def choice(self, key: str, choices: Iterable[str], default: D | Required = REQUIRED) -> str | D:
        """Return one of `choices`."""
        choices = tuple(choices)
        kind = _Kind(f"one of {', '.join(map(repr, choices))}", "strings", lambda value: value in choices, "")
        return self._value(key, default, kind)

    def strings(self, key: str, default: D | Required = REQUIRED) -> tuple[str, ...] | D:
        """Return a list of strings."""
        return self._values(key, default, _STRING)

    def integers(self, key: str, default: D | Required = REQUIRED, *, count: int | None = None) -> tuple[int, ...] | D:
        """Return a list of whole numbers, exactly `count` of them."""
        return self._values(key, default, _INTEGER, count)

    def numbers(self, key: str, default: D | Required = REQUIRED, *, count: int | None = None) -> tuple[float, ...] | D:
        """Return a list of finite numbers, exactly `count` of them."""
        return self._values(key, default, _NUMBER, count)

    def table(self, key: str, *, required: bool = True) -> Table:
        """Return the table under `key`, empty if it is absent and not required."""
        found = self.mapping.get(key)
        if isinstance(found, dict) or (found is None and not required):
            return self._below(key, found or {})
        self._refuse(key, found, "a table")
        return Table(mapping={}, source=self.source)  # with faults of its own: the one above is enough

    def tables(self, key: str, *, required: bool = True) -> tuple[Table, ...]:
        """Return the array of tables under `key`, as `[[cards]]` writes it, empty if it is absent and not required."""
        found = self._values(key, REQUIRED if required else (), _TABLE)
        return tuple(self._below(f"{key}[{index}]", item) for index, item in enumerate(found))

    def _below(self, place: str, mapping: Mapping[str, Any]) -> Table:
        """Return a table inside this one."""
        return replace(self, mapping=mapping, path=_joined(self.path, place))

    def _value(self, key: str, default: D | Required, kind: _Kind[T]) -> T | D:
        """Return the value of `key`; one that is not of `kind` is a fault and becomes a blank."""
        value: Any = self.mapping.get(key)
        if value is None and not isinstance(default, Required):
            return default
        if kind.accepts(value):
            found: T = value
            return found
        self._refuse(key, value, kind.noun)
        return kind.blank

    def _values(self, key: str, default: D | Required, kind: _Kind[T], count: int | None = None) -> tuple[T, ...] | D:
        """Return the list under `key`; one without `count` items, and each item that is not of `kind`, is a fault."""
        values = self.mapping.get(key)
        if values is None and not isinstance(default, Required):
            return default
        if not isinstance(values, (list, tuple)) or count not in (None, len(values)):
            self._refuse(key, values, f"a list of {kind.plural}" if count is None else f"a list of {count} {kind.plural}")
            return (kind.blank,) * (count or 0)
        for index, item in enumerate(values):
            if not kind.accepts(item):
                self._refuse(f"{key}[{index}]", item, kind.noun)
        return tuple(item if kind.accepts(item) else kind.blank for item in values)

    def _refuse(self, key: str, value: object, noun: str) -> None:
        """Note that `key` holds `value` where `noun` was expected; None stands for a missing key."""
        found = "missing" if value is None else f"got {value!r} ({type(value).__name__})"
        self.fault(key, f"{found}, expected {noun}")


@contextmanager
def reading(path: Path, error: type[VramguardError], *, name: str | None = None) -> Iterator[Table]:
    """Give the root table of the TOML file at `path` (JSON if it ends in `.json`), and raise its faults together at the end.

    `name` is how errors call the file, by default its path.

    Raises:
        error: when the file cannot be read or parsed, and when the block ends with faults, one a line.
    """
    source = name or str(path)
    with checking(_parsed(path, source, error), source, error) as root:
        yield root


@contextmanager
def checking(mapping: Mapping[str, Any], source: str, error: type[VramguardError]) -> Iterator[Table]:
    """Give a table over `mapping`, which is in memory already, and raise its faults together at the end, as `reading` does."""
    root = Table(mapping=mapping, source=source)
    yield root
    if root.faults:
        raise error("\n".join(root.faults))


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """Return `; did you mean 'x'?` for the one of `known` that is nearest to `word`, or nothing if none is near.

    >>> did_you_mean("max_step", ["max_steps", "bf16"])
    "; did you mean 'max_steps'?"
    """
    from difflib import get_close_matches

    nearest = get_close_matches(word, known, n=1)
    return f"; did you mean {nearest[0]!r}?" if nearest else ""


def _joined(path: str, key: str) -> str:
    """Return the path of `key` under `path`, quoted as TOML asks for where it is not a bare key."""
    quoted = key if _BARE_KEY.fullmatch(key) else repr(key)
    return f"{path}.{quoted}" if path else quoted


def _parsed(path: Path, source: str, error: type[VramguardError]) -> Mapping[str, Any]:
    """Return the root mapping of a file, or raise `error` with the place that the parser names."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as exc:  # ValueError: not UTF-8, or a null character in the path
        reason = getattr(exc, "strerror", None) or str(exc)
        raise error(f"{source}: cannot be read: {reason}, expected a UTF-8 text file") from exc
    try:
        document = _parser(path)(text)
    except (ValueError, RecursionError) as exc:  # RecursionError: nested too deeply for the parser
        raise error(f"{source}: malformed: {exc}") from exc
    if not isinstance(document, dict):
        raise error(f"{source}: got a {type(document).__name__}, expected a table of keys")
    return document


def _parser(path: Path) -> Callable[[str], object]:
    """Return the parser of the file's language; it is imported only where there is something to parse."""
    if path.suffix == ".json":
        import json

        return json.loads
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    return tomllib.loads
