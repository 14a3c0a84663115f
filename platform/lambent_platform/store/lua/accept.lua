-- accept.lua: accept a batch of asynchronous events.
--
-- KEYS[1]  prefix of the partition
-- ARGV     account concurrency limit · most events that may be queued for one target · how long (s, liveness) to
--          remember that an event was accepted, so that the same id is not run again (0: not at all)
--          · then for each event: id · ident · target · generation · message (header \n payload) · meta (JSON)
--          · when it expires (event time)
-- Writes   taken:<id>, ev:<id>, expiries, and either evq:<target> (queued) or held:<worker> and inbox:<worker> (leased)
-- Returns  for each event: accepted | stale | full
-- Atomic   an accepted event is in exactly one of queued and leased from the start.

local account_limit = tonumber(ARGV[1])
local queue_limit = tonumber(ARGV[2])
local once_s = ARGV[3]
local results = {}
for at = 4, #ARGV, 7 do
  local id, ident, target = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  local generation, message, meta = ARGV[at + 3], ARGV[at + 4], ARGV[at + 5]
  local state = redis.call('HMGET', P .. 'fn:' .. ident, 'gen', 'reserved')
  if state[1] ~= generation then
    results[#results + 1] = 'stale'
  elseif redis.call('LLEN', P .. 'evq:' .. target) >= queue_limit then
    results[#results + 1] = 'full'
  elseif once_s ~= '0' and not redis.call('SET', P .. 'taken:' .. id, '1', 'NX', 'EX', once_s) then
    results[#results + 1] = 'accepted'
  else
    if redis.call('EXISTS', P .. 'ev:' .. id) == 0 then
      redis.call('HSET', P .. 'ev:' .. id, 'message', message, 'meta', meta, 'attempts', 1, 'ident', ident, 'target', target)
      redis.call('ZADD', P .. 'expiries', ARGV[at + 6], id)
      local said, shared = admit(ident, state[2], account_limit)
      local worker, environment
      if said == 'ok' and redis.call('LLEN', P .. 'evq:' .. target) == 0 then worker, environment = take_slot(target) end
      if worker then
        hold(worker, id, environment, ident, shared, 'event', '', target)
        count(ident, shared, 1)
        redis.call('RPUSH', P .. 'inbox:' .. worker, environment .. '\n' .. event_message(id))
      else
        redis.call('RPUSH', P .. 'evq:' .. target, id)
        demand(target)
      end
    end
    results[#results + 1] = 'accepted'
  end
end
return results
