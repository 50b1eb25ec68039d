"""The project's own tools. None of them is part of the package."""
