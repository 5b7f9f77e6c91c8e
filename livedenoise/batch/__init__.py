"""The same engines over files."""
