"""What carries the decisions out, through ports."""
