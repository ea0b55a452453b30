"""Train a recipe for a few steps with the Hugging Face stack as it is, telling a watch what is going on."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from peft import get_peft_model, prepare_model_for_kbit_training
from transformers import AutoModelForCausalLM, PrinterCallback, Trainer, set_seed
from transformers.utils import logging

from pytest_vramguard.recipes.afterwards import no_metrics, use_trained
from pytest_vramguard.recipes.arguments import build_arguments, refusals
from pytest_vramguard.recipes.callback import StepCallback
from pytest_vramguard.recipes.checkpoint import find_checkpoint
from pytest_vramguard.recipes.data import DataSource, training_data
from pytest_vramguard.recipes.leftovers import nothing_left
from pytest_vramguard.recipes.releases import load_keywords, text_config

if TYPE_CHECKING:
    from collections.abc import Iterator

    from peft import PeftModel
    from transformers import PreTrainedModel, TrainingArguments

    from pytest_vramguard.recipes.arguments import Arguments
    from pytest_vramguard.recipes.checkpoint import Checkpoint
    from pytest_vramguard.recipes.data import TrainingData
    from pytest_vramguard.recipes.recipe import Recipe
    from pytest_vramguard.recipes.watch import Watch


def run(recipe: Recipe, *, steps: int, watch: Watch, worst_batch: bool = False) -> None:
    """Train `recipe` for `steps` optimizer steps on the device that torch finds, and let go of everything.

    The phase `load` covers model, adapter and Trainer; the optimizer is made at the beginning of the training, its state in the
    first step. What the recipe asks for besides follows as phases of their own. Nothing is downloaded or logged, and what is
    saved is deleted. `worst_batch`: every sample is the longest of the data.

    Raises:
        RecipeError: if the recipe names what is not there, or what the training stack refuses.
        torch.OutOfMemoryError: if the card is full.
    """
    with nothing_left(), _quiet(), TemporaryDirectory(prefix="vramguard-run-") as folder:
        arguments = build_arguments(recipe, steps=steps, output_folder=Path(folder))
        _train(recipe, arguments, watch, worst_batch=worst_batch)


def _train(recipe: Recipe, arguments: Arguments, watch: Watch, *, worst_batch: bool) -> None:
    """Load and train; what is held here is let go with the frame."""
    training = arguments.training
    set_seed(training.seed)
    checkpoint = find_checkpoint(recipe)
    source = DataSource(
        tokenizer_folder=checkpoint.tokenizer_folder,
        vocab_size=text_config(checkpoint.config).vocab_size,
        seed=training.seed,
    )
    step_samples = training.train_batch_size * training.gradient_accumulation_steps
    data = training_data(recipe.data, source, count=training.max_steps * step_samples, worst=worst_batch)
    callback = StepCallback(watch, tokens=None if data.sample_tokens is None else data.sample_tokens * step_samples)
    with watch.phase("load"):
        trainer = _trainer(recipe, _model(recipe, checkpoint, arguments), training, data)
    trainer.add_callback(callback)
    with callback.open_step:
        trainer.train()
    use_trained(recipe, trainer, source, watch)


def _model(recipe: Recipe, checkpoint: Checkpoint, arguments: Arguments) -> PreTrainedModel | PeftModel:
    """Return the model on its device, with its adapter if there is one."""
    keywords = {key: value for key, value in recipe.model.items() if key not in ("pretrained_model_name_or_path", "config")}
    with refusals(recipe, "model"):
        model = AutoModelForCausalLM.from_pretrained(
            checkpoint.folder,
            config=checkpoint.config,
            quantization_config=arguments.quantization,
            device_map={"": arguments.training.device},
            local_files_only=True,
            **load_keywords(keywords),
        )
    if arguments.peft is None:
        return model
    if arguments.quantization is not None:
        model = prepare_model_for_kbit_training(
            model,
            use_gradient_checkpointing=arguments.training.gradient_checkpointing,
            gradient_checkpointing_kwargs=arguments.training.gradient_checkpointing_kwargs,
        )
    with refusals(recipe, "peft"):
        return get_peft_model(model, arguments.peft)


def _trainer(recipe: Recipe, model: PreTrainedModel | PeftModel, training: TrainingArguments, data: TrainingData) -> Trainer:
    """Return the Trainer, which prints nothing."""
    with refusals(recipe, "training"):
        trainer = Trainer(
            model=model,
            args=training,
            train_dataset=data.samples,
            data_collator=data.collator,
            compute_metrics=no_metrics if recipe.keeps_predictions else None,
        )
    trainer.remove_callback(PrinterCallback)  # it prints the loss, whatever the logging strategy
    return trainer


@contextmanager
def _quiet() -> Iterator[None]:
    """Show no progress bar and no talk of deprecations, and let no other warning of the stack end the run.

    A test suite may turn warnings into errors; those of the stack about itself are not the suite's to mend.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        warnings.simplefilter("ignore", FutureWarning)
        shown = logging.is_progress_bar_enabled()
        logging.disable_progress_bar()
        try:
            yield
        finally:
            if shown:
                logging.enable_progress_bar()
