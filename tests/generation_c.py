"""The newest installations: each placeholder of a text is registered by a trigger, row by row, under a unique name."""

from __future__ import annotations

import random

from tests.application import Application

REGISTER = """
CREATE TABLE template_variables (
    variable_id uuid PRIMARY KEY DEFAULT gen_random_uuid(), variable_name varchar(255) NOT NULL UNIQUE,
    description text NOT NULL, category varchar(50) NOT NULL, is_dynamic boolean NOT NULL DEFAULT true,
    created_at timestamptz DEFAULT now(), updated_at timestamptz DEFAULT now());
CREATE TABLE template_variable_usage (
    usage_id uuid PRIMARY KEY DEFAULT gen_random_uuid(), template_id uuid NOT NULL REFERENCES templates ON DELETE CASCADE,
    variable_id uuid NOT NULL REFERENCES template_variables ON DELETE CASCADE, created_at timestamptz DEFAULT now(),
    UNIQUE (template_id, variable_id));
CREATE FUNCTION note_variables() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE found_name text; found_id uuid;
BEGIN
    DELETE FROM template_variable_usage WHERE template_id = NEW.template_id;
    FOR found_name IN SELECT DISTINCT m[1] FROM regexp_matches(NEW.content, '{([^{}]+)}', 'g') m LOOP
        SELECT variable_id INTO found_id FROM template_variables WHERE variable_name = found_name;
        IF found_id IS NULL THEN
            INSERT INTO template_variables (variable_name, description, category, is_dynamic)
            VALUES (found_name, 'found in a text', 'unknown', false) RETURNING variable_id INTO found_id;
        END IF;
        INSERT INTO template_variable_usage (template_id, variable_id) VALUES (NEW.template_id, found_id)
        ON CONFLICT DO NOTHING;
    END LOOP;
    RETURN NEW;
END $$;
CREATE TRIGGER note_variables AFTER INSERT OR UPDATE OF content, system_prompt ON templates
FOR EACH ROW EXECUTE FUNCTION note_variables();
"""

USED = """
SELECT (SELECT count(*) FROM (
            SELECT t.template_id, m[1] FROM templates t, regexp_matches(t.content, '{([^{}]+)}', 'g') m
            EXCEPT
            SELECT u.template_id, v.variable_name FROM template_variable_usage u JOIN template_variables v USING (variable_id)
        ) missing),
       (SELECT count(*) FROM (
            SELECT u.template_id, v.variable_name FROM template_variable_usage u JOIN template_variables v USING (variable_id)
            EXCEPT
            SELECT t.template_id, m[1] FROM templates t, regexp_matches(t.content, '{([^{}]+)}', 'g') m
        ) too_many)
"""


def text_with(names: list[int]) -> str:
    return " ".join(f"{{name_{number}}}" for number in names)


def shuffled(seed: int, *, of: int, many: int) -> list[int]:
    """Some of the numbers below `of`, in an order of their own."""
    return random.Random(seed).sample(range(of), many)


def fill(application: Application, *, rows: int, names: int, in_each: int) -> None:
    """Old rows with many placeholders each, in different order; one business owns them all."""
    application.execute(REGISTER)
    business = application.business(1)
    for number in range(rows):
        application.template(f"old-{number:05d}", text_with(shuffled(number, of=names, many=in_each)))
    application.stage(1, business, "old-00000")
