"""The store: its files, local or in S3, and the readers and writers of its clips."""
