-- schedules/tick.lua: turn ticks that are due into firings, and go on to the next tick.
--
-- KEYS[1]  prefix of the partition
-- ARGV     id · generation and next tick as they were read · the tick behind them ('' for none) · passed
--          · most firings that it may have pending · how many it may have however many there are in all · most in all
--          · when to look again where they are too many · 1: the schedule is over and goes
--          · then for each firing: id · when to send it · firing (JSON)
-- Writes   source:<id>, sources, ticks, firings, firingsdue, pending
-- Returns  1; 0 where another has done it, or it was changed since; -1 where too many firings are pending
-- Atomic   all of it or nothing: of several schedulers one fires a tick, and one that is killed behind this script
--          has left the firing to whoever comes next.

local id, key = ARGV[1], P .. 'source:' .. ARGV[1]
local found = redis.call('HMGET', key, 'gen', 'next')
if found[1] ~= ARGV[2] or found[2] ~= ARGV[3] then return 0 end
local count = (#ARGV - 10) / 3
local pending = number(redis.call('HGET', P .. 'pending', id)) + count
local crowded = pending > number(ARGV[7]) and redis.call('ZCARD', P .. 'firingsdue') >= number(ARGV[8])
if count > 0 and (pending > number(ARGV[6]) or crowded) then
  redis.call('ZADD', P .. 'ticks', ARGV[9], id)
  return -1
end
for at = 11, #ARGV, 3 do
  redis.call('HSET', P .. 'firings', ARGV[at], ARGV[at + 2])
  if redis.call('ZADD', P .. 'firingsdue', ARGV[at + 1], ARGV[at]) == 1 then
    redis.call('HINCRBY', P .. 'pending', id, 1)
  end
end
if ARGV[10] == '1' then
  drop(id)
else
  redis.call('HSET', key, 'passed', ARGV[5])
  set_next(id, ARGV[4])
end
return 1
