"""What carries requests: the handler table, the gRPC adapter, health and listeners."""
