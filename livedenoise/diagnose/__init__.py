"""What kind of noise is this, and which training methods fit it."""
