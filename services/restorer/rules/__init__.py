"""What the restorer decides, as pure functions of values."""
