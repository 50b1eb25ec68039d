"""The room where a fetch is done once, however many ask for it."""
