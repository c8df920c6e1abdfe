"""One module per group of commands. Each turns words into a message or a question, and shows the answer."""
