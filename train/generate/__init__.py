"""Sampling of trained runs."""
