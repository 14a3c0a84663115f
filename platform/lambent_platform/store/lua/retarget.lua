-- retarget.lua: what waits for a state of a version that is no longer deployed moves to the one that is.
--
-- KEYS[1]  prefix of the partition
-- ARGV     old target · new target ('' where the version was deleted) · error code · message
-- Writes   wait, waitmsg and evq of both targets, ev:<id>, replies:<gateway>, running, demand
-- Returns  how many calls and events moved, or were answered with the error; events of a deleted version stay

local old, new = ARGV[1], ARGV[2]
local moved = 0
local waiting = redis.call('ZRANGE', P .. 'wait:' .. old, 0, -1, 'WITHSCORES')
for at = 1, #waiting, 2 do
  local id = waiting[at]
  local raw = redis.call('HGET', P .. 'waitmsg:' .. old, id)
  if raw and new ~= '' then
    redis.call('ZADD', P .. 'wait:' .. new, waiting[at + 1], id)
    redis.call('HSET', P .. 'waitmsg:' .. new, id, raw)
  elseif raw then
    local parts = split(raw:match('^(.-)\n'), '|')
    count(parts[2], parts[1], -1)
    if redis.call('HEXISTS', P .. 'gateways', parts[3]) == 1 then
      redis.call('RPUSH', P .. 'replies:' .. parts[3], cjson.encode({ id, '', '', '', ARGV[3] }) .. '\n' .. ARGV[4])
    end
  end
  moved = moved + 1
end
redis.call('DEL', P .. 'wait:' .. old, P .. 'waitmsg:' .. old)
while new ~= '' do
  local id = redis.call('LPOP', P .. 'evq:' .. old)
  if not id then break end
  redis.call('HSET', P .. 'ev:' .. id, 'target', new)
  redis.call('RPUSH', P .. 'evq:' .. new, id)
  moved = moved + 1
end
if redis.call('EXISTS', P .. 'evq:' .. old) == 0 then redis.call('SREM', P .. 'demand', old) end
if new ~= '' and moved > 0 then demand(new) end
return moved
