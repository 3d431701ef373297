"""Backbones, feature heads and what of them must agree over ranks."""
