"""The page that shows a catalog: report.html, one file without a network."""
