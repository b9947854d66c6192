-- search skills: the exact name is worth more than a match within the name, and
-- that more than one elsewhere; ts_rank_cd, scaled to less than 1, decides the rest
select skill_id, rank as "rank!"
from (
    select c.skill_id,
           (ts_rank_cd(c.search, q, 32)
               + case when c.name = $2 then 2 when ts_filter(c.search, '{a}') @@ q then 1 else 0 end)::real as rank
    from websearch_to_tsquery('english', $1) q,
         lateral (
             select s.skill_id, s.name, s.search
             from skills s
             where s.state = 'active' and s.search @@ q
             order by (s.name = $2) desc, s.skill_id desc
             limit 5000
         ) c
) ranked
where $3::real is null or (rank, skill_id) < ($3, $4::uuid)
order by rank desc, skill_id desc
limit $5
