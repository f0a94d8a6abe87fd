"""Training of folds: a plain PyTorch loop."""
