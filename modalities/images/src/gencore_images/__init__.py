"""Images for gencore."""
