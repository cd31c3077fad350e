"""How a person signs in."""
