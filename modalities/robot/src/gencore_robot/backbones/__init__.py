"""Networks over chunks of actions."""
