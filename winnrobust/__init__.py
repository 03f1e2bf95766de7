"""Adversarial-robustness evaluation built around Wasserstein Introspective Neural Networks."""
