"""Mutation testing: whether the tests notice small changes to the package. ``python -m tools.mutants`` runs it."""
