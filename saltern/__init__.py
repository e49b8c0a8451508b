"""Saltern: a layered cloud model in git, brought to life through Salt's own bus."""

__version__ = "0.1.0"
