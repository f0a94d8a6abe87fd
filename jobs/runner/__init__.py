"""Plan, store and workers of a scoring job."""
