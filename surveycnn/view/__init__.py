"""The zoomable view of a run's mosaics with its sources over them: pixels and rows, served to a browser on this machine."""
