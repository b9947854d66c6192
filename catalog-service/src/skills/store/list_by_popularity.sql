-- list skills by popularity
select t.skill_id, t.execution_count
from skill_stats t
join skills s on s.skill_id = t.skill_id
where s.state = 'active'
  and ($1::text is null or s.category = $1)
  and ($2::text is null or s.difficulty = $2)
  and ($3::text is null or s.tags @> array[$3])
  and ($4::uuid is null or s.author_id = $4)
  and ($5::bigint is null or (t.execution_count, t.skill_id) < ($5, $6::uuid))
order by t.execution_count desc, t.skill_id desc
limit $7
