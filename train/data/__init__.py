"""Clips of a store as batches of tensors, and exact motion compensation in torch."""
