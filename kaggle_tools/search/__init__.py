"""The blend, class weights, thresholds and votes that a metric likes best, and how much of the gain is real."""
