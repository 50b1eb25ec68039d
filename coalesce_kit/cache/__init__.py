"""Answering without asking: kept results, how long they are used, and which of them go first."""
