"""What a phantom checkpoint holds: the header of real weights, no bytes, and a config."""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any, Final

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig

from pytest_vramguard.recipes.phantom import PhantomStore, phantom_store
from pytest_vramguard.units import MIB

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


def header_of(folder: Path) -> tuple[dict[str, dict[str, object]], int]:
    """Return the header of the weights in `folder`, and the number of bytes of data that follow it."""
    path = folder / "model.safetensors"
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
