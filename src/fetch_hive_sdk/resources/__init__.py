"""Everything but runs, one file a family. Each is loaded when it is first touched, as `client.agents`."""
