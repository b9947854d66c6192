-- list skills, newest first: the ids are UUIDv7
select s.skill_id
from skills s
where s.state = 'active'
  and ($1::text is null or s.category = $1)
  and ($2::text is null or s.difficulty = $2)
  and ($3::text is null or s.tags @> array[$3])
  and ($4::uuid is null or s.author_id = $4)
  and ($5::uuid is null or s.skill_id < $5)
order by s.skill_id desc
limit $6
