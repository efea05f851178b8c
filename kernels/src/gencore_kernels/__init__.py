"""Optional fast operators for gencore."""
