-- The catalog of skills, and how they are used and liked.

create function catalog.skill_search(name text, description text, tags text[]) returns tsvector
    language sql immutable
    set search_path = ''
as $$
    select setweight(to_tsvector('pg_catalog.english', replace(name, '-', ' ')), 'A')
        || setweight(to_tsvector('pg_catalog.english', replace(array_to_string(tags, ' '), '-', ' ')), 'B')
        || setweight(to_tsvector('pg_catalog.english', description), 'C')
$$;

create table catalog.skills
(
    skill_id      uuid primary key,
    name          text        not null,
    description   text        not null,
    license       text        not null,
    compatibility text        not null,
    metadata      jsonb       not null,
    category      text        not null,
    difficulty    text        not null,
    tags          text[]      not null,
    author_id     uuid        not null references auth.users,
    version       integer     not null,
    state         text        not null default 'active',
    search        tsvector    not null generated always as (catalog.skill_search(name, description, tags)) stored,
    created_at    timestamptz not null default now(),
    updated_at    timestamptz not null default now(),
    constraint skills_name_key unique (name),
    constraint skills_difficulty_check check (difficulty in ('beginner', 'intermediate', 'advanced', 'expert')),
    constraint skills_state_check check (state in ('active', 'archived'))
);

create index skills_search_idx on catalog.skills using gin (search);
create index skills_tags_idx on catalog.skills using gin (tags);
create index skills_newest_idx on catalog.skills (skill_id desc) where state = 'active';
create index skills_name_idx on catalog.skills (name) where state = 'active';
create index skills_category_idx on catalog.skills (category, skill_id desc) where state = 'active';
create index skills_difficulty_idx on catalog.skills (difficulty, skill_id desc) where state = 'active';
create index skills_author_idx on catalog.skills (author_id, skill_id desc) where state = 'active';

-- What an execution runs: rows are added and never changed.
create table catalog.skill_versions
(
    skill_id          uuid        not null references catalog.skills,
    version           integer     not null,
    digest            text        not null,
    body              text        not null,
    allowed_tools     text[]      not null,
    parameters_schema jsonb       not null,
    created_by        uuid        not null references auth.users,
    created_at        timestamptz not null default now(),
    primary key (skill_id, version)
);

-- Figures that change often, apart from the rows that are searched.
create table catalog.skill_stats
(
    skill_id        uuid primary key references catalog.skills,
    execution_count bigint           not null default 0,
    rating_sum      bigint           not null default 0,
    rating_count    bigint           not null default 0,
    rating          double precision not null generated always as
        (case when rating_count = 0 then 0 else rating_sum::double precision / rating_count end) stored
);

create index skill_stats_popularity_idx on catalog.skill_stats (execution_count desc, skill_id desc);
create index skill_stats_rating_idx on catalog.skill_stats (rating desc, skill_id desc);

-- Executions that are not yet in skill_stats: one counter row per skill would
-- make every execution of it wait for the one before.
create table catalog.skill_usage
(
    skill_id   uuid    not null,
    executions integer not null
);

create table catalog.skill_ratings
(
    skill_id   uuid        not null references catalog.skills,
    user_id    uuid        not null references auth.users,
    stars      smallint    not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (skill_id, user_id),
    constraint skill_ratings_stars_check check (stars between 1 and 5)
);

create table catalog.favorites
(
    user_id    uuid        not null references auth.users,
    skill_id   uuid        not null references catalog.skills,
    created_at timestamptz not null default now(),
    primary key (user_id, skill_id)
);

create table catalog.idempotency_keys (like auth.idempotency_keys including all);

create trigger skills_updated before update on catalog.skills
    for each row execute function public.set_updated_at();
create trigger skill_ratings_updated before update on catalog.skill_ratings
    for each row execute function public.set_updated_at();

grant select, insert, update on catalog.skills, catalog.skill_stats, catalog.skill_ratings to ihuman_catalog;
grant select, insert on catalog.skill_versions to ihuman_catalog;
grant select, insert, delete on catalog.skill_usage, catalog.favorites, catalog.idempotency_keys to ihuman_catalog;
