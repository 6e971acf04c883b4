-- The application's tables as far as the move is concerned, generation A, for the demonstration and the tests.
CREATE TABLE businesses (
    business_id          uuid PRIMARY KEY,
    api_key              text NOT NULL UNIQUE,
    owner_id             uuid NOT NULL,
    business_name        text NOT NULL UNIQUE,
    business_description text,
    created_at           timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE prompt_templates (
    template_id   varchar(255) PRIMARY KEY,
    template_text text NOT NULL,
    description   text,
    variables     text[] NOT NULL DEFAULT '{}',
    template_name varchar(255),
    template_type varchar(50) DEFAULT 'stage_selection'
);

CREATE TABLE templates (
    template_id   uuid PRIMARY KEY,
    business_id   uuid NOT NULL REFERENCES businesses (business_id) ON DELETE CASCADE,
    template_name varchar(255) NOT NULL,
    template_type varchar(50) NOT NULL,
    content       text NOT NULL,
    system_prompt text,
    created_at    timestamptz DEFAULT now(),
    updated_at    timestamptz DEFAULT now()
);
CREATE INDEX idx_templates_business_id ON templates (business_id);
CREATE INDEX idx_templates_template_type ON templates (template_type);

CREATE TABLE stages (
    stage_id                        uuid PRIMARY KEY,
    business_id                     uuid NOT NULL REFERENCES businesses (business_id) ON DELETE CASCADE,
    agent_id                        uuid,
    stage_name                      text NOT NULL,
    stage_description               text NOT NULL,
    stage_type                      text NOT NULL,
    stage_selection_template_id     varchar(255),
    data_extraction_template_id     varchar(255),
    response_generation_template_id varchar(255),
    created_at                      timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX idx_stages_business_id ON stages (business_id);
