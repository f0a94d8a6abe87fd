"""Decoder-only models (Llama, Qwen, Mistral …) as classifiers: what they lack for batches of texts.

The stock head reads the last token that is not padding, so configuration and tokenizer must mean the same token by it;
many such tokenizers have none, and many configurations name none or another. Texts are padded on the right, where a
causal model never looks.
"""

from __future__ import annotations

from typing import Any

from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_MASKED_LM_MAPPING

from models.errors import ModelError


def is_decoder(config: Any) -> bool:
    """Whether an architecture reads from left to right alone."""
    return type(config) in MODEL_FOR_CAUSAL_LM_MAPPING and type(config) not in MODEL_FOR_MASKED_LM_MAPPING


def give_padding(tokenizer: Any, config: Any) -> None:
    """Let a decoder's tokenizer and configuration agree on a padding token; others are left as they are.

    That of the configuration, behind which the stock head looks for the last token; else the tokenizer's. Where it has
    none, or one that was added to it and that the network has no embedding for, the end of text serves: its mask hides
    it.

    Raises:
        ModelError: A decoder's tokenizer has neither.
    """
    if not is_decoder(config):
        return
    known, named = config.get_text_config().vocab_size, config.pad_token_id
    if named is not None and 0 <= named < min(known, len(tokenizer)):
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(named)
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id >= known:
        if tokenizer.eos_token_id is None or tokenizer.eos_token_id >= known:
            raise ModelError(
                f"the tokenizer of this {config.model_type} has neither a padding token nor an end of text",
                next="set tokenizer.pad_token, and save_pretrained it to the encoder's directory",
            )
        tokenizer.pad_token = tokenizer.eos_token
    config.pad_token_id = tokenizer.pad_token_id
    config.use_cache = False  # nothing is generated
