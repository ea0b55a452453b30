"""Models of two layers made from configurations, and text for them: real code paths at little cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

from pytest_vramguard.models import tokenizer_folder

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase

DECODER: Final[dict[str, Any]] = {
    "vocab_size": 2048,
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "max_position_embeddings": 512,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 3,
}
"""What the configurations of decoder models have in common; the vocabulary is that of the shipped tokenizer."""
WORDS: Final = (40, 90, 20, 60, 75, 30, 110, 55)
"""Words in the answers of the conversations: they differ, so that batches are padded."""


def tokenizer() -> PreTrainedTokenizerBase:
    """Return the shipped tokenizer, which has a chat template with marked answers."""
    return AutoTokenizer.from_pretrained(tokenizer_folder())


def model(config: PreTrainedConfig | None = None, **keywords: Any) -> Any:
    """Return a model on the host with weights at random; a Llama if no `config` is given."""
    return AutoModelForCausalLM.from_config(config or LlamaConfig(**DECODER), **keywords)


def lora(**keywords: Any) -> LoraConfig:
    """Return a LoRA on the attention."""
    return LoraConfig(**{"r": 8, "target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM", **keywords})


def conversations(count: int) -> list[dict[str, Any]]:
    """Return conversations of one question and one answer each, of different lengths."""
    return [
        {
            "messages": [
                {"role": "user", "content": f"Tell me about city number {number}."},
                {"role": "assistant", "content": "a town by the sea " * (WORDS[number % len(WORDS)] // 5)},
            ]
        }
        for number in range(count)
    ]


def preferences(count: int) -> list[dict[str, Any]]:
    """Return questions with a chosen and a rejected answer each, of different lengths."""
    return [
        {
            "prompt": [conversation["messages"][0]],
            "chosen": [conversation["messages"][1]],
            "rejected": [{"role": "assistant", "content": "I do not know " * (2 + number % 5)}],
        }
        for number, conversation in enumerate(conversations(count))
    ]
