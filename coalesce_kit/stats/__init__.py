"""Counting and watching: numbers, latencies, events and the registry. Imports nothing else of the package."""
