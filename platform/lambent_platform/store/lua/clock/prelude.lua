-- clock/prelude.lua: what the scripts of the movable clock share; put in front of each.
--
-- KEYS[1]     prefix of the partition (`l1:{p0}:`), the home partition
--
-- clock       HASH: offset_ms, how far event time is ahead
-- clockseen   HASH process → the offset that it has followed
-- clockbeats  ZSET process → when it last said so, in liveness time
-- clockbox:<process>  LIST it waits on
-- clockmoves  LIST of from:to, the spans of event time that were passed over; newest first

local P = KEYS[1]
local MOVES_KEPT = 1000

local function number(value) return tonumber(value or '0') or 0 end

local function liveness_ms()
  local time = redis.call('TIME')
  return number(time[1]) * 1000 + math.floor(number(time[2]) / 1000)
end

local function offset() return number(redis.call('HGET', P .. 'clock', 'offset_ms')) end

local function forget(member)
  redis.call('ZREM', P .. 'clockbeats', member)
  redis.call('HDEL', P .. 'clockseen', member)
  redis.call('DEL', P .. 'clockbox:' .. member)
end

-- Forget processes that are silent for longer than their lease; returns the others.
local function alive(lease_ms)
  local before = liveness_ms() - lease_ms
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', P .. 'clockbeats', '-inf', before)) do forget(member) end
  return redis.call('ZRANGE', P .. 'clockbeats', 0, -1)
end
