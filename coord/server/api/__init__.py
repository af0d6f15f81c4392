"""The gRPC services: one handler table, filled by one module for each service."""
