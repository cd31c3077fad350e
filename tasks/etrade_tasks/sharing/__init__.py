"""One renewal among many: who goes first, and what it leaves for the others."""
