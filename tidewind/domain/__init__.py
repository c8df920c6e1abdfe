"""Pure values and rules that two services or more share. Nothing here waits, reads a clock or logs."""
