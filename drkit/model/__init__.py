"""Pure types and functions: no file, socket, clock or process."""
