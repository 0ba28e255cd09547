"""Clips of a store as batches of tensors."""
