"""The move of `prompt_templates` to `templates`: a declaration, and the functions peculiar to it."""
