"""One forward and backward pass of TinyLlama-1.1B in 4 bits with LoRA, as the published trace shows it.

What the trace says about the run, beyond its notebook: rotary embeddings are made in every layer and no mask is, as in
transformers 4.40 to 4.42; adapters add out of place, as in peft from 0.9 on; the input requires a gradient, as the preparation
for quantised training does by default; the model stays in evaluation mode, but the adapters, made after that, drop out
(a mask of 2,048,000 bytes for each of the 44); no keys and values are kept; cuBLAS has its workspaces, so there was a pass
before.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, LlamaConfig

from pytest_vramguard.recipes.phantom import phantom_store
from pytest_vramguard.recipes.releases import DTYPE_KEY

CONFIG = {
    "vocab_size": 32000,
    "hidden_size": 2048,
    "intermediate_size": 5632,
    "num_hidden_layers": 22,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
    "max_position_embeddings": 2048,
    "architectures": ["LlamaForCausalLM"],
}
"""Source: config.json of TinyLlama-1.1B on the Hugging Face hub."""
TOKENS = 1000


def run(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the bytes before and at the peak, and the sizes of the segments that the pass asked from the driver, in order."""
    from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training

    config = LlamaConfig(**CONFIG)
    folder = phantom_store().folder(config, torch.bfloat16)
    quantization = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_compute_dtype=torch.bfloat16)
    implementation = {"attn_implementation": settings["attention"]}
    model = AutoModelForCausalLM.from_pretrained(
        folder, device_map={"": 0}, quantization_config=quantization, **{DTYPE_KEY: torch.bfloat16}, **implementation
    )
    model = prepare_model_for_kbit_training(model)
    model = get_peft_model(
        model, LoraConfig(r=16, lora_dropout=0.05, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    )
    model.config.use_cache = False
    ids = torch.randint(0, 32000, (1, TOKENS)).to("cuda")
    model(input_ids=ids, labels=ids).loss.backward()
    model.zero_grad()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before, reserved = torch.cuda.memory_allocated(), torch.cuda.memory_reserved()
    torch.cuda.memory._record_memory_history(max_entries=100_000)
    outputs = model(input_ids=ids, labels=ids)
    outputs.loss.backward()
    events = torch.cuda.memory._snapshot()["device_traces"][0]
    short = {"alloc": "a", "free_completed": "f"}
    return {
        "base_allocated_bytes": before,
        "reserved_at_start_bytes": reserved,
        "peak_allocated_bytes": torch.cuda.max_memory_allocated(),
        "peak_reserved_bytes": torch.cuda.max_memory_reserved(),
        "events": [[short[event["action"]], event["size"]] for event in events if event["action"] in short],
        "segments": [event["size"] for event in events if event["action"] == "segment_alloc"],
    }
