"""Steps of the command line: fill a store from videos or a store, export it, verify it."""
