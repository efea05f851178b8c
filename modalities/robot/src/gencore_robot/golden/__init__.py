"""Golden numbers of robot policies."""
