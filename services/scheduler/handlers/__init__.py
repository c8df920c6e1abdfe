"""What the scheduler does with a command or a tick, through ports."""
