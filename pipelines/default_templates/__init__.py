"""The move of `default_templates` to `template_defaults`: a table without tenants, which nothing refers to."""
