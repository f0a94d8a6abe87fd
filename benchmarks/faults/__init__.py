"""Faults brought on purpose: hostile tables, damaged files, kills, crowds, secrets. `make faults` runs all of them."""
