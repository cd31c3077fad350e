"""Many tokens in one run: which ones, how many at once, and each one's result."""
