-- name: declared_variables_are_used
-- Every declared variable stands in the text, as {name} or {{name}}.
NOT EXISTS (
    SELECT FROM unnest(s.variables::text[] COLLATE "C") AS v (name)
    WHERE strpos(s.template_text::text COLLATE "C", '{' || v.name || '}') = 0)

-- name: used_variables_are_declared
-- Every placeholder of the text, {name} or {{name}}, is a declared variable. What is no name, such as JSON, is none.
NOT EXISTS (
    SELECT FROM string_to_table(s.template_text::text COLLATE "C", '{') WITH ORDINALITY AS p (part, place)
    WHERE place > 1 AND strpos(part, '}') > 1  -- a regex takes twice as long
      AND split_part(part, '}', 1) COLLATE "C" <> ALL (s.variables::text[])
      AND split_part(part, '}', 1) ~ '^[A-Za-z_][A-Za-z0-9_]*$')

-- name: name_is_kept_whole
-- The name, or the first line of the description that takes its place, is not longer than a name may be.
CASE WHEN btrim(coalesce(s.template_name::text COLLATE "C", ''), E' \t\n\x0B\f\r') <> ''
     THEN length(s.template_name::text) <= 255
     ELSE coalesce(length(s.description::text), 0) <= 255
       OR length((regexp_match(ltrim(s.description::text COLLATE "C", E' \t\n\x0B\f\r'), '^[^\r\n]*'))[1]) <= 255 END
