"""What lies between an encoder and the logits. Adding a head is adding a function here and its name to `HEADS`."""
