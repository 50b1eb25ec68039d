"""The command line: ``coalesce-kit stats``, ``top``, ``health`` and ``demo``."""
