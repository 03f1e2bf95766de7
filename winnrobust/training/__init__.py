"""Training runs: settings, methods, the loop, what is kept."""
