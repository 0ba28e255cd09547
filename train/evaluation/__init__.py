"""What `train.evaluate` is made of: clips on disk, numbers, tables, a page."""
