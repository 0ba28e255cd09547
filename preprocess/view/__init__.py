"""The command `view`: a page to browse a store."""
