"""Comparing a trained model with its base: plan.py says what with what, compare.py what comes of it.

The statistics (differences, curves, support, ...) are pure functions of `Arm`s and can be used without
runs; how to read them: docs/compare.md.
"""
