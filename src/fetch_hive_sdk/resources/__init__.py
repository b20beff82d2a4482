"""The client's resources, such as `client.agents`. Each module is loaded on first access."""
