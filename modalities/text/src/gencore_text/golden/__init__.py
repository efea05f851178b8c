"""Golden numbers of published text models."""
