-- replace.lua: put calls that no environment has taken back in front of their queues.
--
-- KEYS[1]  prefix of the partition
-- ARGV     worker · then for each call: id · message (header \n payload)
-- Returns  how many went back

local worker = ARGV[1]
local moved = 0
for at = 2, #ARGV, 2 do
  local id, message = ARGV[at], ARGV[at + 1]
  local held = redis.call('HGET', P .. 'held:' .. worker, id)
  if held then
    local lease = split(held, '|')
    local ident, shared, kind, gateway, target = lease[2], lease[3], lease[4], lease[5], lease[6]
    if kind == 'event' then
      release(worker, id)
      redis.call('LPUSH', P .. 'evq:' .. target, id)
    else
      -- It keeps its place in the count of what runs: it was admitted once.
      redis.call('HDEL', P .. 'held:' .. worker, id)
      redis.call('ZADD', P .. 'wait:' .. target, 0, id)
      redis.call('HSET', P .. 'waitmsg:' .. target, id, shared .. '|' .. ident .. '|' .. gateway .. '\n' .. message)
    end
    demand(target)
    moved = moved + 1
  end
end
return moved
