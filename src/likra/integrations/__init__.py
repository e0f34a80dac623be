"""likra inside other people's programs."""
