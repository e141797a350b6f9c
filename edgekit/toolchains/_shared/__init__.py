"""What several toolchains need."""
