-- promote.lua: queue the delayed events whose time has come.
--
-- KEYS[1]  prefix of the partition
-- ARGV     now_ms (event time) · most to move in one go
-- Returns  how many were moved, and when the next one is due ('' where none is delayed)

local due = redis.call('ZRANGEBYSCORE', P .. 'delayed', '-inf', ARGV[1], 'LIMIT', 0, tonumber(ARGV[2]))
for _, id in ipairs(due) do
  redis.call('ZREM', P .. 'delayed', id)
  local event = redis.call('HMGET', P .. 'ev:' .. id, 'target', 'ident')
  local target = event[1]
  if target then
    -- An update since the last attempt gave the version a new revision: run what is deployed now.
    local version = target:match(':([^:]+):[^:]+$')
    local revision = redis.call('HGET', P .. 'fn:' .. event[2], 'live:' .. version)
    if revision then
      target = event[2] .. ':' .. version .. ':' .. revision
      redis.call('HSET', P .. 'ev:' .. id, 'target', target)
    end
    redis.call('RPUSH', P .. 'evq:' .. target, id)
    demand(target)
  end
end
local first = redis.call('ZRANGE', P .. 'delayed', 0, 0, 'WITHSCORES')
return { #due, first[2] or '' }
