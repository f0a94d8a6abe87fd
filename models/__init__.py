"""Text classifiers: text in, logits out. Usable alone from a notebook; knows nothing of jobs or submissions."""
