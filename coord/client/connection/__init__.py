"""Reaching a cluster: endpoints, channels, credentials, retries."""
