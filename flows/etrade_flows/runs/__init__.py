"""What Prefect remembers of a run, and how a run ends."""
