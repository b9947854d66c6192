-- list audit records, newest first: the ids are UUIDv7
select audit_log_id, created_at, actor_id, session_id, api_key_id, action, entity_type, entity_id,
       old_values, new_values, host(ip_address) as ip_address, user_agent, request_id,
       outcome as "outcome: Outcome", reason
from audit.audit_logs
where ($1::uuid is null or actor_id = $1)
  and ($2::text is null or action = $2)
  and ($3::text is null or entity_type = $3)
  and ($4::text is null or entity_id = $4)
  and ($5::text is null or outcome = $5)
  and ($6::timestamptz is null or created_at >= $6)
  and ($7::timestamptz is null or created_at < $7)
  and ($8::uuid is null or audit_log_id >= $8)
  and ($9::uuid is null or audit_log_id <= $9)
  and ($10::uuid is null or audit_log_id < $10)
order by audit_log_id desc
limit $11
