"""One message each: decide, work, end."""
