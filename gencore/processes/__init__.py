"""Forward noising."""
