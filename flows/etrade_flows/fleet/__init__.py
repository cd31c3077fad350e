"""Many tokens in one run: which, how many at once, and what came of each."""
