"""`prerl-train align`: do gradients of log P(y) and log P(y|x) agree? study.py is the main path."""
