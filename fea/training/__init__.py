"""What every fit has: policy, optimizer, checkpoints, validation, and a folder of its own."""
