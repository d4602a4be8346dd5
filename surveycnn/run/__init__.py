"""Running a survey: plan, work store, tiles, workers and the three stages ingest, infer and publish."""
