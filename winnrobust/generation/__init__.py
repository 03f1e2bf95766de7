"""The generative half: sampling, textures, quality, detection."""
