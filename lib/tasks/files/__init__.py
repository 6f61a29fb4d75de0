"""Where raw files come from, and how they are read."""
