"""Every database it will meet: case by case, what becomes of rows and references. Each a real database on each server
version; each result read by plain SQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.application import Application
from tests.command import ROOT, run_here

SCHEMA = ROOT / "sql" / "demo" / "application.sql"

# Small canonical ids, and other spellings of them.
U1, U2, U3 = (f"0000000{n}-aaaa-4aaa-8aaa-aaaaaaaaaaaa" for n in (1, 2, 3))
UPPER, BRACES, BARE = U1.upper(), f"{{{U2}}}", U3.replace("-", "")

TEXT_TO_UUID = ";".join(
    f"ALTER TABLE stages ALTER {column} TYPE uuid USING {column}::uuid"
    for column in ("stage_selection_template_id", "data_extraction_template_id", "response_generation_template_id")
)
KEYS_TO_TEMPLATES = ";".join(
    f"ALTER TABLE stages ADD FOREIGN KEY ({column}) REFERENCES templates (template_id)"
    for column in ("stage_selection_template_id", "data_extraction_template_id", "response_generation_template_id")
)
KEYS_TO_OLD = ";".join(
    f"ALTER TABLE stages ADD FOREIGN KEY ({column}) REFERENCES prompt_templates (template_id)"
    for column in ("stage_selection_template_id", "data_extraction_template_id", "response_generation_template_id")
)
OLDER = ("selection_template_id", "extraction_template_id", "response_template_id")
ADD_OLDER = "".join(f"ALTER TABLE stages ADD {column} varchar(255);" for column in OLDER)
ONLY_OLDER = (
    "ALTER TABLE stages RENAME stage_selection_template_id TO selection_template_id;"
    "ALTER TABLE stages RENAME data_extraction_template_id TO extraction_template_id;"
    "ALTER TABLE stages RENAME response_generation_template_id TO response_template_id"
)


@dataclass(frozen=True, kw_only=True)
class Case:
    """rows: the map as "SOURCE>BUSINESS disposition rule", in any order; "-" in place of SOURCE's business for a reject.
    stages: the references of a stage afterwards: "SOURCE@BUSINESS" for what the map has, else the value itself.
    blockers: the codes, where the exit code is 3."""

    name: str
    arrange: Callable[[Application], None]
    code: int = 0
    arguments: tuple[str, ...] = ()
    rows: tuple[str, ...] = ()
    stages: dict[int, tuple[str | None, ...]] = field(default_factory=dict)
    references: dict[str, int] = field(default_factory=dict)
    blockers: tuple[str, ...] = ()


def words(*sentences: str) -> Callable[[Application], None]:
    """A database in words: `row KEY`, `there KEY BUSINESS`, `stage N BUSINESS VALUE…`, or a statement of SQL.

    `row KEY text=… name=… type=…`: a row of the old table; `there …`: a row of the new table, equal unless said
    otherwise. `_` is NULL.
    """

    def arrange(app: Application) -> None:
        for sentence in sentences:
            verb, _, rest = sentence.partition(" ")
            if verb not in ("row", "there", "stage"):
                app.execute(sentence)
                continue
            plain = [word for word in rest.split() if "=" not in word]
            named = dict(word.split("=", 1) for word in rest.split() if "=" in word)
            values = {"text": "T", "name": "n", "type": "t", **named}
            values = {name: None if value == "_" else value for name, value in values.items()}
            if verb == "row":
                app.template(
                    plain[0], values["text"], template_name=values["name"], template_type=values["type"],
                    description=values.get("description"),
                )  # fmt: skip
            elif verb == "there":
                app.execute(
                    "INSERT INTO templates (template_id, business_id, template_name, template_type, content)"
                    " VALUES (%s, %s, %s, %s, %s)",
                    (plain[0], business(int(plain[1])), values["name"], values["type"], values["text"]),
                )
            else:
                app.stage(int(plain[0]), business(int(plain[1])), *(None if v == "_" else v for v in plain[2:]))

    return arrange


def business(number: int) -> str:
    return f"00000000-0000-0000-0000-{number:012d}"


DEFAULT = ("--default-business", "Business 1")
KEEP = ("--on-conflict", "keep-target")

CASES = [
    # Owners and identity.
    Case(
        name="a slug that one business uses",
        arrange=words("row slug", "stage 1 2 slug"),
        rows=("slug>2 inserted references",),
        stages={1: ("slug@2", None, None)},
        references={"rewired": 1, "null": 2},
    ),
    Case(
        name="a canonical id stays",
        arrange=words(f"row {U1}", f"stage 1 2 {U1}"),
        rows=(f"{U1}>2 inserted references",),
        stages={1: (U1, None, None)},
        references={"already_current": 1, "rewired": 0},
    ),
    Case(
        name="a canonical id that two businesses use: the other one gets a copy under another id",
        arrange=words(f"row {U1}", f"stage 1 2 {U1} {U1}", f"stage 2 3 {U1}"),
        rows=(f"{U1}>2 inserted references", f"{U1}>3 inserted copy"),
        stages={1: (U1, U1, None), 2: (f"{U1}@3", None, None)},
    ),
    Case(
        name="ties go to the smallest business",
        arrange=words("row a", "stage 1 3 a", "stage 2 2 a"),
        rows=("a>2 inserted references", "a>3 inserted copy"),
        stages={1: ("a@3", None, None), 2: ("a@2", None, None)},
    ),
    Case(
        name="most uses win, over all columns",
        arrange=words("row a", "stage 1 2 a", "stage 2 3 a a a"),
        rows=("a>3 inserted references", "a>2 inserted copy"),
    ),
    Case(
        name="nobody refers to it: the default business by name",
        arrange=words("row a"),
        arguments=("--default-business", "Business 3"),
        rows=("a>3 inserted default",),
    ),
    Case(
        name="nobody refers to it: the default business by id",
        arrange=words("row a"),
        arguments=("--default-business", business(2)),
        rows=("a>2 inserted default",),
    ),
    Case(
        name="nobody refers to it and there is no default",
        arrange=words("row a", "row b", "stage 1 1 b"),
        code=3,
        blockers=("no_owner",),
    ),
    Case(
        name="nobody refers to it and there is only one business",
        arrange=words("DELETE FROM businesses WHERE business_name <> 'Business 2'", "row a"),
        rows=("a>2 inserted default",),
    ),
    Case(
        name="no business at all",
        arrange=words("DELETE FROM businesses", "row a"),
        code=3,
        blockers=("no_owner",),
    ),
    Case(
        name="a default business that is not there",
        arrange=words("row a"),
        arguments=("--default-business", "Nobody"),
        code=3,
        blockers=("unknown_default_owner",),
    ),
    Case(name="an empty table", arrange=words()),
    Case(
        name="ids that look like numbers, booleans and nothing",
        arrange=words(*(f"row {key}" for key in ("007", "7", "1e5", "NaN", "null", "NULL", "TRUE", "0x1F", "None")),
                      "stage 1 1 007 7 NaN", "stage 2 1 null NULL None"),
        arguments=DEFAULT,
        rows=("007>1 inserted references", "7>1 inserted references", "NaN>1 inserted references",
              "null>1 inserted references", "NULL>1 inserted references", "None>1 inserted references",
              "1e5>1 inserted default", "TRUE>1 inserted default", "0x1F>1 inserted default"),
        stages={1: ("007@1", "7@1", "NaN@1"), 2: ("null@1", "NULL@1", "None@1")},
    ),
    Case(
        name="ids that differ in case, accents, form and white space are different ids",
        arrange=words("row a", "row A", "row é", "row e\u0301",
                      "INSERT INTO prompt_templates (template_id, template_text, template_name) VALUES (' a', 'T', 'n'), ('', 'T', 'n'), ('a ', 'T', 'n')",
                      "stage 1 1 a A é", "stage 2 1 e\u0301"),
        arguments=DEFAULT,
        rows=("a>1 inserted references", "A>1 inserted references", "é>1 inserted references",
              "e\u0301>1 inserted references", " a>1 inserted default", ">1 inserted default", "a >1 inserted default"),
        stages={1: ("a@1", "A@1", "é@1"), 2: ("e\u0301@1", None, None)},
    ),
    Case(
        name="in text columns another spelling of a UUID is a plain text id",
        arrange=words(f"row {UPPER}", f"row {U1}", f"stage 1 1 {UPPER} {U1}"),
        rows=(f"{UPPER}>1 inserted references", f"{U1}>1 inserted references"),
        stages={1: (f"{UPPER}@1", U1, None)},
    ),
    Case(
        name="names: blank, missing, from the description, too long",
        arrange=words("row a name=_ description=first", "row b name=_",
                      "UPDATE prompt_templates SET template_name = repeat('x', 255) WHERE template_id = 'a'",
                      f"row {'k' * 250} name=_"),
        arguments=DEFAULT,
        rows=("a>1 inserted default", "b>1 inserted default", f"{'k' * 250}>1 inserted default"),
    ),
    # A person names owners.
    Case(
        name="the file of owners goes before references and default",
        arrange=words("row a", "row b", "row c", "stage 1 3 a a", "stage 2 3 c"),
        arguments=(*DEFAULT, "--owners", f"a,{business(2)}", f"b,{business(3)}"),
        rows=("a>2 inserted owners_file", "a>3 inserted copy", "b>3 inserted owners_file", "c>3 inserted references"),
        stages={1: ("a@3", "a@3", None)},
    ),
    Case(
        name="the file of owners gives every unreferenced row an owner",
        arrange=words("row a", "row b", "stage 1 2 b"),
        arguments=("--owners", f"a,{business(3)}"),
        rows=("a>3 inserted owners_file", "b>2 inserted references"),
    ),
    Case(
        name="the file of owners leaves a row without one",
        arrange=words("row a", "row b"),
        arguments=("--owners", f"a,{business(3)}"),
        code=3,
        blockers=("no_owner",),
    ),
    Case(
        name="the file of owners names a row that is not there",
        arrange=words("row a"),
        arguments=(*DEFAULT, "--owners", f"b,{business(3)}"),
        code=3,
        blockers=("unknown_in_owners_file",),
    ),
    Case(
        name="the file of owners names a business that is not there",
        arrange=words("row a"),
        arguments=(*DEFAULT, "--owners", f"a,{business(9)}"),
        code=3,
        blockers=("unknown_in_owners_file",),
    ),
    Case(
        name="the file of owners names two for one row",
        arrange=words("row a"),
        arguments=(*DEFAULT, "--owners", f"a,{business(1)}", f"a,{business(2)}"),
        code=2,
    ),
    Case(
        name="the file of owners names something else than an id",
        arrange=words("row a"),
        arguments=(*DEFAULT, "--owners", "a,Business 1"),
        code=2,
    ),
    # Half-done migrations: the same id.
    Case(
        name="present: the equal row's business refers to it",
        arrange=words(f"row {U1}", f"there {U1} 2", f"stage 1 2 {U1}"),
        rows=(f"{U1}>2 already_present present",),
        stages={1: (U1, None, None)},
    ),
    Case(
        name="present: nobody refers to the row, so its place in the new table names the owner",
        arrange=words(f"row {U1}", f"there {U1} 2"),
        rows=(f"{U1}>2 already_present present",),
    ),
    Case(
        name="present: its business uses it less than another, which gets a copy",
        arrange=words(f"row {U1}", f"there {U1} 2", f"stage 1 3 {U1} {U1}", f"stage 2 2 {U1}"),
        rows=(f"{U1}>2 already_present present", f"{U1}>3 inserted copy"),
        stages={1: (f"{U1}@3", f"{U1}@3", None), 2: (U1, None, None)},
    ),
    Case(
        name="present goes before the file of owners",
        arrange=words(f"row {U1}", f"there {U1} 2"),
        arguments=("--owners", f"{U1},{business(3)}"),
        rows=(f"{U1}>2 already_present present",),
    ),
    Case(
        name="present: a name-based id that was made before, with names and types mapped",
        arrange=words(
            "row slug name=_ type=_",
            "INSERT INTO templates (template_id, business_id, template_name, template_type, content) SELECT encode("
            "set_byte(set_byte(d, 6, (get_byte(d, 6) & 15) | 128), 8, (get_byte(d, 8) & 63) | 128), 'hex')::uuid,"
            f" '{business(3)}', 'Migrated Template slug', 'stage_selection', 'T' FROM (SELECT substring(sha256("
            "'\\x6f1c2f0e8d524f0b9c430a7d5b3e21c8'::bytea || 'slug'::bytea) FROM 1 FOR 16) AS d) d",
        ),
        rows=("slug>3 already_present present",),
    ),
    Case(
        name="conflict: the id is another business's row",
        arrange=words(f"row {U1}", f"there {U1} 2", f"stage 1 3 {U1}"),
        code=4,
        rows=(f"{U1}>3 conflict references",),
        stages={1: (U1, None, None)},
    ),
    Case(
        name="conflict kept: the id stays with the other business, and who refers to it gets a copy",
        arrange=words(f"row {U1}", f"there {U1} 2", f"stage 1 3 {U1}"),
        arguments=KEEP,
        rows=(f"{U1}>2 already_present present", f"{U1}>3 inserted copy"),
        stages={1: (f"{U1}@3", None, None)},
    ),
    Case(
        name="conflict: another text under the id",
        arrange=words(f"row {U1}", f"there {U1} 2 text=other", f"stage 1 2 {U1}"),
        code=4,
        rows=(f"{U1}>2 conflict references",),
    ),
    Case(
        name="conflict kept: the text in the new table stays",
        arrange=words(f"row {U1}", f"there {U1} 2 text=other", f"stage 1 2 {U1}"),
        arguments=KEEP,
        rows=(f"{U1}>2 already_present present",),
        stages={1: (U1, None, None)},
    ),
    Case(
        name="conflict: another name under the id",
        arrange=words(f"row {U1}", f"there {U1} 1 name=other"),
        arguments=DEFAULT,
        code=4,
        rows=(f"{U1}>1 conflict default",),
    ),
    Case(
        name="conflict: another type under the id",
        arrange=words(f"row {U1}", f"there {U1} 1 type=other"),
        arguments=DEFAULT,
        code=4,
        rows=(f"{U1}>1 conflict default",),
    ),
    Case(
        name="conflict among others: they are copied, the old world goes on",
        arrange=words(f"row {U1}", "row a", f"there {U1} 1 text=other", f"stage 1 1 {U1} a"),
        code=4,
        rows=(f"{U1}>1 conflict references", "a>1 inserted references"),
        stages={1: (U1, "a", None)},
    ),
    Case(
        name="rows of the new table that have nothing to do with it stay as they are",
        arrange=words("row a", f"there {U3} 2 text=other", f"stage 1 1 a {U3}", f"stage 2 2 {U3}"),
        rows=("a>1 inserted references",),
        stages={1: ("a@1", U3, None), 2: (U3, None, None)},
        references={"foreign": 1, "already_current": 1, "rewired": 1},
    ),
    # Half-done migrations: an equal row under another id.
    Case(
        name="adopted: an equal row of the same business",
        arrange=words("row slug", f"there {U1} 2", "stage 1 2 slug"),
        rows=("slug>2 adopted references",),
        stages={1: (U1, None, None)},
    ),
    Case(
        name="adopted by the default business",
        arrange=words("row slug", f"there {U1} 1"),
        arguments=DEFAULT,
        rows=("slug>1 adopted default",),
    ),
    Case(
        name="not adopted: the equal row belongs to another business",
        arrange=words("row slug", f"there {U1} 3", "stage 1 2 slug"),
        rows=("slug>2 inserted references",),
        stages={1: ("slug@2", None, None)},
    ),
    Case(
        name="not adopted: another name",
        arrange=words("row slug", f"there {U1} 2 name=other", "stage 1 2 slug"),
        rows=("slug>2 inserted references",),
    ),
    Case(
        name="adopted: at most one old row for a new one, smallest ids first",
        arrange=words("row b", "row a", "row c", f"there {U2} 2", f"there {U1} 2", "stage 1 2 a b c"),
        rows=("a>2 adopted references", "b>2 adopted references", "c>2 inserted references"),
        stages={1: (U1, U2, "c@2")},
    ),
    Case(
        name="adopted for the copy of another business",
        arrange=words("row a", f"there {U1} 3", "stage 1 2 a a", "stage 2 3 a"),
        rows=("a>2 inserted references", "a>3 adopted copy"),
        stages={1: ("a@2", "a@2", None), 2: (U1, None, None)},
    ),
    Case(
        name="adopted: after the names are mapped",
        arrange=words("row slug name=_", f"there {U1} 2 name=x", "stage 1 2 slug",
                      f"UPDATE templates SET template_name = 'Migrated Template slug' WHERE template_id = '{U1}'"),
        rows=("slug>2 adopted references",),
    ),
    Case(
        name="a row that is present under its own id is not adopted by another one",
        arrange=words(f"row {U1}", "row a", f"there {U1} 2", f"stage 1 2 {U1} a"),
        rows=(f"{U1}>2 already_present present", "a>2 inserted references"),
        stages={1: (U1, "a@2", None)},
    ),
    Case(
        name="a row whose own id is taken by another text is no candidate for adoption",
        arrange=words(f"row {U1}", f"there {U1} 2 text=other", f"there {U2} 2", f"stage 1 2 {U1}"),
        code=4,
        rows=(f"{U1}>2 conflict references",),
    ),
    Case(
        name="all at once",
        arrange=words(f"row {U1}", f"row {U2}", "row a", "row b", f"there {U1} 1", f"there {U3} 2 text=B",
                      "UPDATE prompt_templates SET template_text = 'B' WHERE template_id = 'b'",
                      f"stage 1 1 {U1} a", f"stage 2 2 b {U2}", f"stage 3 3 {U1}"),
        rows=(f"{U1}>1 already_present present", f"{U1}>3 inserted copy", f"{U2}>2 inserted references",
              "a>1 inserted references", "b>2 adopted references"),
        stages={1: (U1, "a@1", None), 2: (U3, U2, None), 3: (f"{U1}@3", None, None)},
    ),
    # References.
    Case(
        name="a reference to nothing closes the gate",
        arrange=words("row a", "stage 1 1 a nothing"),
        code=4,
        stages={1: ("a", "nothing", None)},
        references={"dangling": 1},
    ),
    Case(
        name="a reference to nothing that is allowed stays",
        arrange=words("row a", f"stage 1 1 a nothing {U3}"),
        arguments=("--allow-dangling",),
        stages={1: ("a@1", "nothing", U3)},
        references={"dangling": 2, "rewired": 1},
    ),
    Case(
        name="the same template three times in one stage",
        arrange=words("row a", "stage 1 1 a a a"),
        stages={1: ("a@1", "a@1", "a@1")},
        references={"rewired": 3},
    ),
    Case(
        name="a chain: one row has the id of another one's successor",
        arrange=words("row a", "stage 1 1 a",
                      "INSERT INTO prompt_templates (template_id, template_text, template_name) SELECT encode(set_byte("
                      "set_byte(d, 6, (get_byte(d, 6) & 15) | 128), 8, (get_byte(d, 8) & 63) | 128), 'hex')::uuid::text,"
                      " 'other', 'n' FROM (SELECT substring(sha256('\\x6f1c2f0e8d524f0b9c430a7d5b3e21c8'::bytea ||"
                      " 'a'::bytea) FROM 1 FOR 16) AS d) d"),
        arguments=DEFAULT,
        code=4,
    ),
    Case(
        name="the older columns alone",
        arrange=words(ONLY_OLDER, "row a",
                      f"INSERT INTO stages (stage_id, business_id, stage_name, stage_description, stage_type,"
                      f" selection_template_id) VALUES ('{'0' * 8}-0000-0000-0000-000000010001', '{business(1)}',"
                      " 'n', 'd', 't', 'a')"),
        rows=("a>1 inserted references",),
        references={"rewired": 1},
    ),
    Case(
        name="both triples, one of them uuid",
        arrange=words(ADD_OLDER, "row a", f"row {U1}", f"stage 1 1 {U1}",
                      TEXT_TO_UUID, "UPDATE stages SET selection_template_id = 'a', response_template_id = 'a'"),
        rows=("a>1 inserted references", f"{U1}>1 inserted references"),
        stages={1: (U1, None, None)},
        references={"rewired": 2, "already_current": 1},
    ),
    # Generation B.
    Case(
        name="uuid columns, without foreign keys",
        arrange=words(f"row {U1}", f"row {U2}", f"stage 1 1 {U1}", f"stage 2 2 {U1} {U2} {U2}", TEXT_TO_UUID),
        rows=(f"{U1}>1 inserted references", f"{U1}>2 inserted copy", f"{U2}>2 inserted references"),
        stages={1: (U1, None, None), 2: (f"{U1}@2", U2, U2)},
    ),
    Case(
        name="uuid columns with foreign keys to the new table",
        arrange=words(f"row {U1}", "row a", f"there {U1} 1", f"stage 1 1 {U1}", f"stage 2 2 {U1}",
                      TEXT_TO_UUID, KEYS_TO_TEMPLATES),
        arguments=DEFAULT,
        rows=(f"{U1}>1 already_present present", f"{U1}>2 inserted copy", "a>1 inserted default"),
        stages={1: (U1, None, None), 2: (f"{U1}@2", None, None)},
    ),
    Case(
        name="uuid columns match other spellings by value",
        arrange=words(f"row {UPPER}", f"row {BRACES}", f"row {BARE}", f"stage 1 1 {U1} {U2} {U3}", TEXT_TO_UUID),
        rows=(f"{UPPER}>1 inserted references", f"{BRACES}>1 inserted references", f"{BARE}>1 inserted references"),
        stages={1: (f"{UPPER}@1", f"{BRACES}@1", f"{BARE}@1")},
        references={"rewired": 3},
    ),
    Case(
        name="uuid columns and two spellings of one id",
        arrange=words(f"row {U1}", f"row {UPPER}", f"stage 1 1 {U1}", TEXT_TO_UUID),
        arguments=DEFAULT,
        code=3,
        blockers=("ambiguous_ids",),
    ),
    Case(
        name="uuid columns and two odd spellings of one id",
        arrange=words(f"row {UPPER}", f"row {{{UPPER}}}", TEXT_TO_UUID),
        arguments=DEFAULT,
        code=3,
        blockers=("ambiguous_ids",),
    ),
    Case(
        name="uuid columns that refer to another business's row of the new table",
        arrange=words("row a", f"there {U1} 2 text=other", f"stage 1 1 {U1}", TEXT_TO_UUID),
        arguments=DEFAULT,
        stages={1: (U1, None, None)},
        references={"foreign": 1},
    ),
    Case(
        name="uuid columns that refer to nothing",
        arrange=words("row a", f"stage 1 1 {U1}", TEXT_TO_UUID),
        arguments=DEFAULT,
        code=4,
        references={"dangling": 1},
    ),
    Case(
        name="adopted by a uuid reference",
        arrange=words(f"row {UPPER}", f"there {U2} 1", f"stage 1 1 {U1}", TEXT_TO_UUID),
        rows=(f"{UPPER}>1 adopted references",),
        stages={1: (U2, None, None)},
    ),
    # The old table's surroundings.
    Case(
        name="foreign keys from text columns leave",
        arrange=words("row a", f"row {U1}", f"stage 1 1 a {U1}", KEYS_TO_OLD),
        rows=("a>1 inserted references", f"{U1}>1 inserted references"),
        stages={1: ("a@1", U1, None)},
    ),
    Case(
        name="a closed gate puts foreign keys back",
        arrange=words("row a", f"row {U1}", f"there {U1} 1 text=other", f"stage 1 1 a {U1}", KEYS_TO_OLD),
        code=4,
        stages={1: ("a", U1, None)},
    ),
    Case(
        name="nullable content and is_default, as in other installations",
        arrange=words("ALTER TABLE templates ALTER content DROP NOT NULL",
                      "ALTER TABLE templates ADD is_default boolean DEFAULT false", "row a", "stage 1 1 a"),
        rows=("a>1 inserted references",),
    ),
    Case(
        name="columns in another order, extra columns, a dropped one",
        arrange=words("ALTER TABLE prompt_templates ADD extra int", "ALTER TABLE prompt_templates DROP extra",
                      "ALTER TABLE prompt_templates ADD created_at timestamptz DEFAULT 'infinity'",
                      "ALTER TABLE prompt_templates DROP template_name, ADD template_name text", "row a", "stage 1 1 a"),
        rows=("a>1 inserted references",),
    ),
    Case(
        name="a unique constraint of the new table keeps a row out",
        arrange=words("ALTER TABLE templates ADD UNIQUE (business_id, template_name)", "row a", "row b", "stage 1 1 a b"),
        code=4,
        rows=("a>1 inserted references", "b>- refused_by_database"),
    ),
    Case(
        name="a deferred unique constraint as well",
        arrange=words("ALTER TABLE templates ADD UNIQUE (business_id, template_name) DEFERRABLE INITIALLY DEFERRED",
                      "row a", "row b name=m", "row c", "stage 1 1 a b c"),
        code=4,
        rows=("a>1 inserted references", "b>1 inserted references", "c>- refused_by_database"),
    ),
    Case(
        name="a check of the new table refuses a row",
        arrange=words("ALTER TABLE templates ADD CHECK (content <> 'bad')", "row a", "row b text=bad", "row c",
                      "stage 1 1 a b c"),
        code=4,
        rows=("a>1 inserted references", "b>- refused_by_database", "c>1 inserted references"),
    ),
    Case(
        name="a trigger of the new table refuses a row",
        arrange=words("CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.content = 'bad' THEN"
                      " RAISE 'no'; END IF; RETURN NEW; END $$",
                      "CREATE TRIGGER no BEFORE INSERT ON templates FOR EACH ROW EXECUTE FUNCTION no()",
                      "row a", "row b text=bad", "stage 1 1 a b"),
        code=4,
        rows=("a>1 inserted references", "b>- refused_by_database"),
    ),
    Case(
        name="a trigger of the new table that changes what is written",
        arrange=words("CREATE FUNCTION louder() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.content :="
                      " upper(NEW.content); RETURN NEW; END $$",
                      "CREATE TRIGGER louder BEFORE INSERT ON templates FOR EACH ROW EXECUTE FUNCTION louder()",
                      "row a text=quiet", "stage 1 1 a"),
        code=3,
        blockers=("changed_in_trial",),
    ),
    Case(
        name="a name that is too long for the column",
        arrange=words("ALTER TABLE templates ALTER template_name TYPE varchar(3)", "row a name=abcd", "row b",
                      "stage 1 1 a b"),
        code=4,
        rows=("a>- value_too_long", "b>1 inserted references"),
    ),
    Case(
        name="a text that is NULL where the old table allows it",
        arrange=words("ALTER TABLE prompt_templates ALTER template_text DROP NOT NULL", "row a text=_", "stage 1 1 a"),
        code=4,
        rows=("a>- missing_value",),
    ),
]  # fmt: skip


@pytest.fixture
def application(any_url: str) -> Iterator[Application]:
    with Application(any_url) as app:
        app.execute(SCHEMA.read_text(encoding="utf-8"))
        for number in (1, 2, 3):
            app.business(number)
        yield app


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_becomes_of_rows_and_references(application: Application, case: Case, tmp_path: Path) -> None:
    case.arrange(application)
    columns = [name for (name,) in application.rows(
        "SELECT attname FROM pg_attribute WHERE attrelid = 'stages'::regclass AND NOT attisdropped"
        " AND attname LIKE %s ORDER BY attnum", ("%\\_template\\_id",)
    )]  # fmt: skip
    application.snapshot()
    places = application.places()

    answer = run_here("run", "--json", "--grace", "0s", "--report-dir", str(tmp_path),
                      *arguments(case, tmp_path), DATABASE_URL=application.url)  # fmt: skip

    assert answer.code == case.code, answer.err
    assert "Traceback" not in answer.err
    document = answer.json
    assert tuple(sorted({blocker["code"] for blocker in document["blockers"]})) == case.blockers
    if case.code in (2, 3):
        assert application.places() == places, "nothing was written"
        return
    if case.rows:
        assert sorted(found_rows(application)) == sorted(case.rows)
    for number, expected in case.stages.items():
        assert references_of(application, number, columns[:3]) == [as_value(application, value) for value in expected]
    for name, count in case.references.items():
        assert document["references"][name] == count, name
    ended = ("inserted", "already_present", "adopted", "conflicts", "rejected")
    assert document["source_rows"] + document["fan_out_copies"] == sum(document[end] for end in ended)
    assert unchanged_before(application)
    retired = application.value("SELECT count(*) FROM pg_class WHERE relname = 'prompt_templates' AND relnamespace::"
                                "regnamespace::text LIKE 'pipelines_retired_%%'", ())  # fmt: skip
    assert (retired, application.exists("public.prompt_templates")) == ((1, False) if case.code == 0 else (0, True))
    keys = application.rows("SELECT conname, convalidated FROM pg_constraint WHERE conrelid = 'stages'::regclass"
                            " AND confrelid = to_regclass('public.prompt_templates')")  # fmt: skip
    assert keys == [] or case.code == 4
    again = run_here("run", "--json", "--grace", "0s", "--report-dir", str(tmp_path), *arguments(case, tmp_path),
                     DATABASE_URL=application.url)  # fmt: skip
    assert again.code == case.code, again.err
    assert again.json["rows_written"] == 0, "a second run finds the same"


def arguments(case: Case, folder: Path) -> list[str]:
    """The lines after --owners become a file."""
    if "--owners" not in case.arguments:
        return list(case.arguments)
    at = case.arguments.index("--owners")
    file = folder / "owners.csv"
    file.write_text("\n".join(["source_id,business_id", *case.arguments[at + 1 :]]) + "\n", encoding="utf-8")
    return [*case.arguments[:at], "--owners", str(file)]


def found_rows(app: Application) -> list[str]:
    number = "right(owner_id::text, 12)::int::text"
    return [row for (row,) in app.rows(
        f"SELECT source_id || '>' || {number} || ' ' || disposition || ' ' || owner_rule FROM pipelines.id_map"
        " UNION ALL SELECT source_id || '>- ' || reason FROM pipelines.rejected"
    )]  # fmt: skip


def references_of(app: Application, number: int, columns: list[str]) -> list[str | None]:
    wanted = ", ".join(f"{column}::text" for column in columns)
    return list(app.rows(f"SELECT {wanted} FROM stages WHERE stage_id::text LIKE %s", (f"%{10_000 + number:x}",))[0])


def as_value(app: Application, expected: str | None) -> str | None:
    """What `SOURCE@BUSINESS` stands for: a row of that business with that text."""
    if expected is None or "@" not in expected:
        return expected
    source, _, number = expected.rpartition("@")
    return app.value(
        "SELECT t.template_id::text FROM pipelines.id_map m JOIN templates t ON t.template_id = m.target_id"
        " AND t.business_id = m.owner_id JOIN before.prompt_templates p ON p.template_id = m.source_id"
        " AND p.template_text = t.content WHERE m.source_id = %s AND m.owner_id = %s",
        (source, business(int(number))),
    )


def unchanged_before(app: Application) -> bool:
    """Rows that stood in the new table before are as they were."""
    return app.value("SELECT NOT EXISTS (SELECT FROM before.templates b LEFT JOIN templates t USING (template_id)"
                     " WHERE t IS DISTINCT FROM b)")  # fmt: skip
