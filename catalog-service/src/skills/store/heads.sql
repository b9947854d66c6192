-- the skills of a list
select s.skill_id, s.name, s.description, s.license, s.compatibility,
       s.metadata as "metadata: Json<BTreeMap<String, String>>", v.allowed_tools,
       '' as "body!", 'null'::jsonb as "parameters_schema!", s.category,
       s.difficulty as "difficulty: Difficulty", s.tags, s.author_id, s.version, v.digest,
       s.state as "state: State", s.created_at, s.updated_at, t.execution_count,
       t.rating as "rating!", t.rating_count
from skills s
join skill_versions v on v.skill_id = s.skill_id and v.version = s.version
join skill_stats t on t.skill_id = s.skill_id
where s.skill_id = any ($1)
