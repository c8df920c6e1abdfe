"""Pure decisions of the changelog."""
