-- queues/prelude.lua: what the scripts of queues share; put in front of each.
--
-- KEYS[1]  prefix of the partition (`l1:{p0}:`); all names are built on it, see keys.py
--
-- A message is known inside its queue by its place: 16 digits, greater than those of all before it, made of the time
-- in µs. A message that waits is in qready (standard: member place; FIFO: member place \1 group; score when it was
-- sent) or in qdelay (same members; score when it is due, FIFO: when it was sent). A message in flight is in qflight
-- (member place, score when it becomes visible again). One on its way to another queue is in qout, and nowhere else.
-- A FIFO queue also has qorder (all scores 0, members group \1 place: ready messages by group and order), qlocks
-- (group → messages in flight) and qgroups (groups that can be received from; score place of their first message).
-- qmsg holds the message: group \n meta (JSON) \n body. qstate what receiving it has left: count|first|sent|group.

local P = KEYS[1]
local PROMOTED_MAX = 200
local EXPIRED_MAX = 200
local BOX_TTL_S = 60

local function name(kind, ident) return P .. kind .. ':' .. ident end

local function decimal(value) return string.format('%.0f', value) end

local function parse_state(text)
  local count, first, sent, group = text:match('^(%d+)|(%d+)|(%d+)|(.*)$')
  return tonumber(count), first, tonumber(sent), group
end

-- Tell whoever waits for this queue, once: who goes on waiting says so again.
local function arrive(ident)
  local waiters = redis.call('SMEMBERS', name('qwait', ident))
  if #waiters == 0 then return end
  redis.call('DEL', name('qwait', ident))
  for _, process in ipairs(waiters) do
    local box = P .. 'arrivals:' .. process
    redis.call('RPUSH', box, ident)
    -- A process that is gone reads its box no more; nothing but the waking depends on it.
    redis.call('EXPIRE', box, BOX_TTL_S)
  end
end

-- The next place of a queue: from the clock, but never going back.
local function next_place(ident, now_ms, last)
  local place = now_ms * 1000
  if last and place <= last then place = last + 1 end
  return place
end

-- Let a group be received from, or not: it can be while none of it is in flight.
local function offer(ident, group)
  local head
  if redis.call('HEXISTS', name('qlocks', ident), group) == 0 then
    head = redis.call('ZRANGEBYLEX', name('qorder', ident), '[' .. group .. '\1', '(' .. group .. '\2', 'LIMIT', 0, 1)[1]
  end
  if head then
    redis.call('ZADD', name('qgroups', ident), head:sub(-16), group)
  else
    redis.call('ZREM', name('qgroups', ident), group)
  end
end

local function ready(ident, fifo, place, sent, group)
  if fifo then
    redis.call('ZADD', name('qready', ident), sent, place .. '\1' .. group)
    redis.call('ZADD', name('qorder', ident), 0, group .. '\1' .. place)
    offer(ident, group)
  else
    redis.call('ZADD', name('qready', ident), sent, place)
  end
end

local function unlock(ident, group)
  if redis.call('HINCRBY', name('qlocks', ident), group, -1) <= 0 then
    redis.call('HDEL', name('qlocks', ident), group)
    offer(ident, group)
  end
end

-- A message in flight becomes visible again.
local function give_back(ident, fifo, place)
  redis.call('ZREM', name('qflight', ident), place)
  local state = redis.call('HGET', name('qstate', ident), place)
  if not state then return end
  local _, _, sent, group = parse_state(state)
  ready(ident, fifo, place, sent, group)
  if fifo then unlock(ident, group) end
end

-- Make receivable what is due, a bounded number of each kind.
local function promote(ident, fifo, now_ms, delay_ms)
  local delayed = name('qdelay', ident)
  local until_ms = fifo and now_ms - delay_ms or now_ms
  local due = redis.call('ZRANGEBYSCORE', delayed, '-inf', until_ms, 'WITHSCORES', 'LIMIT', 0, PROMOTED_MAX)
  for at = 1, #due, 2 do
    redis.call('ZREM', delayed, due[at])
    local place, group = due[at]:sub(1, 16), due[at]:sub(18)
    ready(ident, fifo, place, math.floor(tonumber(place) / 1000), group)
  end
  for _, place in ipairs(redis.call('ZRANGEBYSCORE', name('qflight', ident), '-inf', now_ms, 'LIMIT', 0, PROMOTED_MAX)) do
    give_back(ident, fifo, place)
  end
end

-- When something becomes receivable by itself; '' where nothing does.
local function next_due(ident, fifo, delay_ms)
  local delayed = redis.call('ZRANGE', name('qdelay', ident), 0, 0, 'WITHSCORES')[2]
  local held = redis.call('ZRANGE', name('qflight', ident), 0, 0, 'WITHSCORES')[2]
  local due = delayed and tonumber(delayed) + (fifo and delay_ms or 0)
  if held and (not due or tonumber(held) < due) then due = tonumber(held) end
  return due and decimal(due) or ''
end

-- A message is no more. It must not be in flight any longer, nor offered.
local function forget(ident, place)
  redis.call('HDEL', name('qmsg', ident), place)
  redis.call('HDEL', name('qstate', ident), place)
end

-- Take a message that waits out of the indexes. `member` is its name in qready.
local function unready(ident, fifo, member)
  redis.call('ZREM', name('qready', ident), member)
  if fifo then redis.call('ZREM', name('qorder', ident), member:sub(18) .. '\1' .. member:sub(1, 16)) end
end

-- Drop waiting messages that were sent before `before_ms`, a bounded number. Returns whether there may be more: then
-- nothing is to be taken yet, since what is oldest comes first.
local function expire(ident, fifo, before_ms)
  local old = redis.call('ZRANGEBYSCORE', name('qready', ident), '-inf', before_ms, 'LIMIT', 0, EXPIRED_MAX)
  for _, member in ipairs(old) do
    unready(ident, fifo, member)
    forget(ident, member:sub(1, 16))
    if fifo then offer(ident, member:sub(18)) end
  end
  return #old == EXPIRED_MAX
end

-- Forget deduplication and attempt ids whose time is over, a bounded number.
local function forget_ids(ident, now_ms, limit)
  local old = redis.call('ZRANGEBYSCORE', name('qdedupdue', ident), '-inf', now_ms, 'LIMIT', 0, limit)
  if #old == 0 then return end
  redis.call('ZREM', name('qdedupdue', ident), unpack(old))
  redis.call('HDEL', name('qdedup', ident), unpack(old))
end

local function remember(ident, id, until_ms, value)
  redis.call('HSET', name('qdedup', ident), id, decimal(until_ms) .. '|' .. value)
  redis.call('ZADD', name('qdedupdue', ident), until_ms, id)
end

local function recall(ident, id, now_ms)
  local found = redis.call('HGET', name('qdedup', ident), id)
  if not found then return nil end
  local until_ms, value = found:match('^(%d+)|(.*)$')
  if tonumber(until_ms) <= now_ms then return nil end
  return value
end

