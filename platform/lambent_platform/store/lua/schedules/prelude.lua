-- schedules/prelude.lua: what the scripts of schedules and rules share; put in front of each.
--
-- KEYS[1]      prefix of the partition (`l1:{p0}:`); all names are built on it, see keys.py
--
-- source:<id>  HASH of one schedule or rule: gen · record (JSON) · next (its next tick, in ms, absent without) · passed
-- sources      ZSET of all ids, by name
-- ticks        ZSET id → when it is to be looked at: its next tick, or later where its firings are too many
-- firings      HASH firing id → firing (JSON) · firingsdue ZSET firing id → when it is to be sent
-- pending      HASH id → how many firings it has
-- wake-schedules LIST the scheduler's tick loop sleeps on

local P = KEYS[1]

local function number(value) return tonumber(value or '0') or 0 end

local function wake()
  if redis.call('LLEN', P .. 'wake-schedules') == 0 then redis.call('RPUSH', P .. 'wake-schedules', '1') end
end

-- Set the next tick of a schedule ('' for none).
local function set_next(id, next_ms)
  if next_ms == '' then
    redis.call('HDEL', P .. 'source:' .. id, 'next')
    redis.call('ZREM', P .. 'ticks', id)
  else
    redis.call('HSET', P .. 'source:' .. id, 'next', next_ms)
    redis.call('ZADD', P .. 'ticks', next_ms, id)
  end
end

local function drop(id)
  redis.call('DEL', P .. 'source:' .. id)
  redis.call('ZREM', P .. 'sources', id)
  redis.call('ZREM', P .. 'ticks', id)
end
