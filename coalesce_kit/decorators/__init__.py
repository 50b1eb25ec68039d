"""The front doors: ``@coalesced`` and what it makes of a function."""
