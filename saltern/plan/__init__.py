"""Plans: from a target revision and an observed fleet to stages, waves and steps. Pure."""
