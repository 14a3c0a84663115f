-- place.lua: place a batch of synchronous calls, or let them wait.
--
-- KEYS[1]  prefix of the partition
-- ARGV     account concurrency limit · most calls that may wait for one target · then for each call:
--          id · ident · target · generation · gateway · message (header \n payload)
-- Reads    fn:<ident> (gen, reserved), running, reserved
-- Writes   idle:<target>, inbox:<worker>, held:<worker>, running, wait:<target>, waitmsg:<target>, demand, wake
-- Returns  for each call: placed | queued | stale | reserved | account | full
-- Atomic   a call is in exactly one of: a worker's inbox under a lease, the target's queue, or refused.

local account_limit = tonumber(ARGV[1])
local queue_limit = tonumber(ARGV[2])
local results = {}
for at = 3, #ARGV, 6 do
  local id, ident, target = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  local generation, gateway, message = ARGV[at + 3], ARGV[at + 4], ARGV[at + 5]
  local result
  local state = redis.call('HMGET', P .. 'fn:' .. ident, 'gen', 'reserved')
  if state[1] ~= generation then
    result = 'stale'
  else
    local said, shared = admit(ident, state[2], account_limit)
    if said ~= 'ok' then
      result = said
    else
      local worker, environment = take_slot(target)
      if worker then
        hold(worker, id, environment, ident, shared, 'sync', gateway, target)
        redis.call('RPUSH', P .. 'inbox:' .. worker, environment .. '\n\n' .. message)
        count(ident, shared, 1)
        result = 'placed'
      elseif redis.call('ZCARD', P .. 'wait:' .. target) >= queue_limit then
        result = 'full'
      else
        redis.call('ZADD', P .. 'wait:' .. target, redis.call('INCR', P .. 'order'), id)
        redis.call('HSET', P .. 'waitmsg:' .. target, id, shared .. '|' .. ident .. '|' .. gateway .. '\n' .. message)
        count(ident, shared, 1)
        demand(target)
        result = 'queued'
      end
    end
  end
  results[#results + 1] = result
end
return results
