"""What is measured of a text model."""
