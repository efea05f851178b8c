"""What a language model must beat."""
