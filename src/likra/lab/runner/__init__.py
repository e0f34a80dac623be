"""Jobs and their store: what is finished is never done again."""
