-- The table of the fallback templates as the older schema of the application has it, and the one that replaces it.
CREATE TABLE default_templates (
    template_id   uuid PRIMARY KEY,
    template_text text NOT NULL,
    variables     text[],
    template_type varchar(50),
    metadata      jsonb
);

CREATE TABLE template_defaults (
    template_id   uuid PRIMARY KEY,
    template_type varchar(50) NOT NULL,
    content       text NOT NULL,
    variables     text[] NOT NULL,
    metadata      jsonb,
    created_at    timestamptz DEFAULT now()
);
