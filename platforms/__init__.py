"""Alveo cards: boards, vendor's blocks, and the card around a core."""
