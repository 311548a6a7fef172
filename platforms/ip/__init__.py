"""Vendor's blocks: one Python class each: a model in simulation, an instance on a card."""
