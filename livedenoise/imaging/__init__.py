"""Pure mathematics on arrays, shared by every plane: no file, clock or process."""
