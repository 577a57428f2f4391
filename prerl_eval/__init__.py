"""prerl_eval: from a checkpoint to Avg@n and Pass@k, with the way the number was made on record."""

__version__ = "0.1.0"
