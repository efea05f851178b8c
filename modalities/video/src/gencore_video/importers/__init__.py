"""Other implementations' checkpoints as pipelines."""
