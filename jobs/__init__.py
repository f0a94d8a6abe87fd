"""What a person runs: one module a command, the runner that carries it, and how results are shown."""
