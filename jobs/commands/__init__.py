"""The signature, help and examples of every command; the work is done in the module of that name in `jobs`."""
