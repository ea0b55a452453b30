"""Cards as data: the built-in `cards.toml`, laid under the files that users add, read only when a catalogue is asked for."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pytest_vramguard.errors import CatalogueError
from pytest_vramguard.tables import Table, did_you_mean, reading
from pytest_vramguard.units import GIB, exact_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DTYPES: Final = ("fp32", "tf32", "fp16", "bf16", "fp8", "int8", "int4")
"""The arithmetic that `Card.dense_flops_per_second` can hold."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    """A GPU model: what code that runs on it sees, how fast it is, and where each number comes from."""

    key: str
    """The name used on command lines and markers: `rtx3060`."""
    name: str
    """As the driver prints it: `NVIDIA GeForce RTX 3060`."""
    nominal_gib: int
    """The size on the box."""
    usable_bytes: int
    """Total memory that CUDA reports on a current Linux driver (r570 or newer); the smallest such value that is known."""
    usable_bytes_older_driver: int | None
    """The same on a Linux driver from before r570, whose firmware keeps less for itself; None where unknown."""
    usable_bytes_windows: int | None
    """The same on Windows and WSL; None where unknown."""
    context_bytes: int
    """What one process holds outside PyTorch's allocator: the CUDA context and the libraries that it loads."""
    architecture: str
    """NVIDIA's name for the generation: `Ampere`."""
    compute_capability: tuple[int, int]
    """Major and minor version."""
    sm_count: int
    """Streaming multiprocessors that are switched on."""
    l2_bytes: int
    """Size of the second-level cache."""
    shared_memory_per_sm_bytes: int
    """Shared memory that the blocks on one multiprocessor share."""
    shared_memory_per_block_optin_bytes: int
    """The most shared memory that one block can ask for."""
    max_threads_per_sm: int
    """Threads that can be resident on one multiprocessor."""
    max_blocks_per_sm: int
    """Blocks that can be resident on one multiprocessor."""
    memory_bus_bits: int
    """Width of the bus between chip and memory."""
    memory_bandwidth_bytes_per_second: float
    """The published peak."""
    boost_clock_hz: int
    """The published boost clock of the reference card."""
    memory_clock_hz: int
    """As CUDA reports it: half of the data rate of one pin."""
    dense_flops_per_second: Mapping[str, float]
    """Peak rate by dtype (of `DTYPES`) on the tensor cores, without sparsity and with fp32 (or int32) accumulation; fp32 is
    that of the CUDA cores. A missing dtype is one that the hardware lacks."""
    price_usd: int | None
    """List price at launch; None where there was none."""
    ecc: bool
    """Whether the usable bytes were read with error correction switched on, which takes 1/16 of GDDR memory."""
    sources: Mapping[str, str]
    """Where each number comes from, by field name."""
    aliases: tuple[str, ...] = ()
    """Other names that `Catalogue.find` understands."""
    peer_access: bool = False
    """Whether cards of this kind in one machine reach each other's memory, over NVLink or PCIe. GeForce cards do not."""
    nccl_channels: int = 0
    """Rings that NCCL lays between such cards, whose buffers are on the card; 0 where they lie in host memory."""

    @property
    def names(self) -> tuple[str, ...]:
        """The key and the aliases."""
        return (self.key, *self.aliases)


@dataclass(frozen=True, kw_only=True, slots=True)
class Catalogue:
    """All known cards, the built-in ones first."""

    cards: tuple[Card, ...]

    def find(self, key: str) -> Card:
        """Return the card that `key` names; case, spaces, hyphens and underscores do not matter.

        Raises:
            CatalogueError: when no card has such a key or alias.
        """
        for card in self.cards:
            if _folded(key) in map(_folded, card.names):
                return card
        keys = [card.key for card in self.cards]
        next_step = did_you_mean(key.casefold(), keys) or "; describe it in a TOML file named in [tool.vramguard] cards"
        raise CatalogueError(f"card {key!r}: not in the catalogue, expected one of {', '.join(keys)}{next_step}")


def load_catalogue(extra_files: Sequence[Path] = ()) -> Catalogue:
    """Return the built-in cards, with those of `extra_files` (TOML of the same form) laid over them in order.

    A card with the key of an earlier one overrides only the fields that it gives. `[architectures.NAME]` holds what all cards
    of one compute capability share; a card takes it over with `capability = NAME`. A field without a source of its own has
    the source `"*"` of its card, else the file's name.

    Raises:
        CatalogueError: when a file cannot be read or has faults; all faults of the first such file together.
    """
    architectures: dict[str, _Facts] = {}
    known: dict[str, _Facts] = {}
    cards: dict[str, Card] = {}
    for path in (_BUILT_IN, *extra_files):
        with reading(path, CatalogueError, name=path.name if path == _BUILT_IN else None) as root:
            root.refuse_unknown(("architectures", "cards"))
            named = root.table("architectures", required=False)
            architectures.update({name: _architecture(named.table(name)) for name in named.mapping})
            for key, table in _by_key(root.tables("cards", required=False)).items():
                known[key] = _told(table, architectures).over(known.get(key, _NOTHING))
                cards[key] = _card(key, replace(table, mapping=known[key].values), known[key].sources)
            _refuse_shared_names(root, cards)
    return Catalogue(cards=tuple(cards.values()))


@dataclass(frozen=True, slots=True)
class _Facts:
    """Some fields of a card, each with its source."""

    values: Mapping[str, object]
    sources: Mapping[str, str]

    def over(self, lower: _Facts) -> _Facts:
        """Return both together; where they differ, these hold and not the lower ones."""
        return _Facts({**lower.values, **self.values}, {**lower.sources, **self.sources})


_NOTHING: Final = _Facts({}, {})
_BUILT_IN: Final = Path(__file__).with_name("cards.toml")
_FIELDS: Final = tuple(field.name for field in fields(Card))
_LIMITS: Final = (
    "shared_memory_per_sm_bytes",
    "shared_memory_per_block_optin_bytes",
    "max_threads_per_sm",
    "max_blocks_per_sm",
)
"""The integers that follow from the compute capability alone."""


def _folded(name: str) -> str:
    """Return what is equal for two names that mean the same card."""
    return name.casefold().replace(" ", "").replace("-", "").replace("_", "")


def _by_key(tables: Sequence[Table]) -> dict[str, Table]:
    """Return the tables of one file by the key of their card; a second table for a key is a fault."""
    keyed: dict[str, Table] = {}
    for table in tables:
        key = table.string("key")
        if key and key in keyed:
            table.fault("key", f"got {key!r}, which {keyed[key].path} has already, expected one table for a card")
        keyed[key] = table
    return keyed


def _architecture(table: Table) -> _Facts:
    """Return what a compute capability says of all of its cards."""
    table.refuse_unknown(("architecture", "compute_capability", *_LIMITS, "source"))
    values: dict[str, object] = {
        "architecture": table.string("architecture"),
        "compute_capability": table.integers("compute_capability", count=2),
        **{name: table.integer(name, minimum=1) for name in _LIMITS},
    }
    return _Facts(values, dict.fromkeys(values, table.string("source", default=_file_as_source(table))))


def _told(table: Table, architectures: Mapping[str, _Facts]) -> _Facts:
    """Return what one file says of a card: its own fields over those of the architecture that it names."""
    table.refuse_unknown((*_FIELDS, "capability"))
    shared = architectures.get(table.choice("capability", architectures, default=""), _NOTHING)
    values = {name: value for name, value in table.mapping.items() if name not in ("key", "capability", "sources")}
    texts = table.table("sources", required=False)
    texts.refuse_unknown((*_FIELDS, "*"))
    rest = texts.string("*", default=_file_as_source(table))
    sources = {name: texts.string(name, default=rest) for name in {**values, **texts.mapping} if name != "*"}
    return _Facts(values, sources).over(shared)


def _file_as_source(table: Table) -> str:
    """Return the source of a number that was given without one."""
    return f"given in {table.source}"


def _card(key: str, table: Table, sources: Mapping[str, str]) -> Card:
    """Return the card that `table` holds; missing and impossible values are faults."""
    major, minor = table.integers("compute_capability", count=2)
    card = Card(
        key=key,
        name=table.string("name"),
        nominal_gib=table.integer("nominal_gib", minimum=1),
        usable_bytes=table.integer("usable_bytes", minimum=1),
        usable_bytes_older_driver=table.integer("usable_bytes_older_driver", default=None, minimum=1),
        usable_bytes_windows=table.integer("usable_bytes_windows", default=None, minimum=1),
        context_bytes=table.integer("context_bytes", minimum=1),
        architecture=table.string("architecture"),
        compute_capability=(major, minor),
        sm_count=table.integer("sm_count", minimum=1),
        l2_bytes=table.integer("l2_bytes", minimum=1),
        shared_memory_per_sm_bytes=table.integer("shared_memory_per_sm_bytes", minimum=1),
        shared_memory_per_block_optin_bytes=table.integer("shared_memory_per_block_optin_bytes", minimum=1),
        max_threads_per_sm=table.integer("max_threads_per_sm", minimum=1),
        max_blocks_per_sm=table.integer("max_blocks_per_sm", minimum=1),
        memory_bus_bits=table.integer("memory_bus_bits", minimum=1),
        memory_bandwidth_bytes_per_second=table.number("memory_bandwidth_bytes_per_second", above=0),
        boost_clock_hz=table.integer("boost_clock_hz", minimum=1),
        memory_clock_hz=table.integer("memory_clock_hz", minimum=1),
        dense_flops_per_second=_rates(table.table("dense_flops_per_second")),
        price_usd=table.integer("price_usd", default=None, minimum=1),
        ecc=table.boolean("ecc"),
        sources=sources,
        aliases=table.strings("aliases", default=()),
        peer_access=table.boolean("peer_access", default=False),
        nccl_channels=table.integer("nccl_channels", default=0, minimum=0),
    )
    _refuse_impossible_sizes(table, card)
    return card


def _rates(table: Table) -> dict[str, float]:
    """Return the rate of each dtype in `table`."""
    table.refuse_unknown(DTYPES)
    return {dtype: table.number(dtype, above=0) for dtype in table.mapping}


def _refuse_impossible_sizes(table: Table, card: Card) -> None:
    """Note a fault for memory that the card's size on the box cannot hold; silent where a size is faulty already."""
    if not table.faults and card.usable_bytes > card.nominal_gib * GIB:
        table.fault("usable_bytes", f"got {exact_text(card.usable_bytes)}, expected at most {card.nominal_gib} GiB")
    if not table.faults and card.context_bytes >= card.usable_bytes:
        table.fault("context_bytes", f"got {exact_text(card.context_bytes)}, expected less than usable_bytes")


def _refuse_shared_names(root: Table, cards: Mapping[str, Card]) -> None:
    """Note a fault for each name that two cards have."""
    owners: dict[str, str] = {}
    for card in cards.values():
        for name in card.names:
            owner = owners.setdefault(_folded(name), card.key)
            if owner != card.key:
                root.fault("cards", f"{name!r} names {owner!r} and {card.key!r}, expected names that only one card has")
