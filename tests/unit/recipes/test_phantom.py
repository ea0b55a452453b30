"""What a phantom checkpoint holds: the header of real weights, no bytes, and a config."""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any, Final

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig

from pytest_vramguard.recipes.phantom import PhantomStore, phantom_store
from pytest_vramguard.units import GIB, MIB

if TYPE_CHECKING:
    from pathlib import Path

HIDDEN: Final = 64
VOCABULARY: Final = 100


def llama(**changes: object) -> PreTrainedConfig:
    """Return the config of a small Llama."""
    sizes = {
        "vocab_size": VOCABULARY,
        "hidden_size": HIDDEN,
        "intermediate_size": 2 * HIDDEN,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    return AutoConfig.for_model("llama", **{**sizes, **changes})


def header_of(path: Path) -> tuple[dict[str, dict[str, object]], int]:
    """Return the header of weights, a file or a folder with one, and the number of bytes of data that follow it."""
    path = path / "model.safetensors" if path.is_dir() else path
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header: dict[str, dict[str, object]] = json.loads(file.read(length))
    return header, path.stat().st_size - 8 - length


@pytest.fixture
def store() -> PhantomStore:
    """Return a store of its own."""
    return PhantomStore()


def test_header_describes_the_weights(store: PhantomStore) -> None:
    """Each tensor has its shape, the type that was asked for, and its place behind the one before."""
    header, size_bytes = header_of(store.folder(llama(), torch.float16))

    assert {"format": "pt"} == header.pop("__metadata__")
    embedding_bytes = VOCABULARY * HIDDEN * 2
    expected = {"dtype": "F16", "shape": [VOCABULARY, HIDDEN], "data_offsets": [0, embedding_bytes]}
    assert expected == header["model.embed_tokens.weight"]
    ends = [offsets[1] for entry in header.values() if isinstance(offsets := entry["data_offsets"], list)]
    assert size_bytes == max(ends)


def test_tied_weights_are_left_out(store: PhantomStore) -> None:
    """Weights that are another tensor's are not in the file, as in published checkpoints."""
    tied, _ = header_of(store.folder(llama(tie_word_embeddings=True), torch.float32))
    untied, _ = header_of(store.folder(llama(tie_word_embeddings=False), torch.float32))

    assert {"lm_head.weight"} == untied.keys() - tied.keys()


def test_the_file_is_a_hole(store: PhantomStore) -> None:
    """Gigabytes of weights take no more of the disk than their header."""
    folder = store.folder(llama(hidden_size=4096, intermediate_size=11008), torch.bfloat16)

    found = (folder / "model.safetensors").stat()
    assert found.st_size > 500 * MIB
    assert found.st_blocks * 512 < MIB


def test_large_weights_are_divided(store: PhantomStore) -> None:
    """More than 2 GiB come as several files with an index, in which every tensor is found once and where the index says."""
    folder = store.folder(llama(vocab_size=2**16, hidden_size=8192, num_hidden_layers=1), torch.bfloat16)  # 2 tables of 1 GiB

    index = json.loads((folder / "model.safetensors.index.json").read_text(encoding="utf-8"))
    files = sorted(folder.glob("*.safetensors"))
    headers = [header_of(file)[0] for file in files]
    found = {name: file.name for file, header in zip(files, headers, strict=True) for name in header if name != "__metadata__"}
    assert ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"] == [file.name for file in files]
    assert index["weight_map"] == found
    assert index["metadata"]["total_size"] == sum(header_of(file)[1] for file in files)
    assert all(header_of(file)[1] <= 2 * GIB for file in files)


def test_from_pretrained_loads_it(store: PhantomStore) -> None:
    """The real loading path takes the folder, finds every weight, and reads zeros."""
    folder = store.folder(llama(), torch.bfloat16)

    loaded: Any = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, output_loading_info=True)

    model, loading = loaded
    assert [set(), set()] == [loading["missing_keys"], loading["unexpected_keys"]]
    assert {torch.bfloat16} == {weight.dtype for weight in model.parameters()}
    assert {0} == {int(weight.count_nonzero()) for weight in model.parameters()}


def test_each_checkpoint_is_written_once(store: PhantomStore) -> None:
    """The same config and type give the same folder; another of either gives another."""
    folder = store.folder(llama(), torch.float32)

    assert folder == store.folder(llama(), torch.float32)
    assert folder != store.folder(llama(), torch.float16)
    assert folder != store.folder(llama(num_hidden_layers=1), torch.float32)


def test_the_folder_goes_with_the_store() -> None:
    """Nothing is left in the temporary directory."""
    store = PhantomStore()
    folder = store.folder(llama(), torch.float32)

    del store

    assert not folder.exists()


def test_a_process_has_one_store() -> None:
    """Cases of one process share their checkpoints."""
    assert phantom_store() is phantom_store()
