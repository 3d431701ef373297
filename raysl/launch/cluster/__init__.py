"""The Ray cluster: its address, connection, capacity and cost, its job server, and the shipping of code and data."""
