"""Pages: templates, charts and pictures that the reports of both packages share."""
