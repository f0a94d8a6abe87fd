"""Leaderboard science: arrays and tables in, answers out. Usable alone from a notebook; knows nothing of torch."""
