"""Robot actions for gencore: policies, embodiments and readers."""
