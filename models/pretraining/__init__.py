"""Masked-language-model training: recipe, rows with their words, masks, the loop."""
