"""A sports service in front of a rate-limited odds API, and a demonstration of what a crowd does to both."""
