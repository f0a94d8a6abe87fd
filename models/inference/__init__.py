"""Text in, probabilities out, fast."""
