-- prelude.lua: what every script shares; put in front of each.
--
-- KEYS[1]  prefix of the partition (`l1:{p0}:`); all names are built on it, see keys.py
--
-- A lease of a taken slot is a field of held:<worker>:
--   call id → environment | ident | shared | kind | gateway | target
-- `shared` is 1 where the call counts against the account's unreserved concurrency.
-- A waiting call in waitmsg:<target>: shared | ident | gateway \n message

local P = KEYS[1]

local function number(value) return tonumber(value or '0') or 0 end

local function split(text, separator)
  local parts = {}
  for part in (text .. separator):gmatch('(.-)' .. separator) do parts[#parts + 1] = part end
  return parts
end

-- The scheduler sleeps on `wake`; one token is enough however many ask.
local function wake()
  if redis.call('LLEN', P .. 'wake') == 0 then redis.call('RPUSH', P .. 'wake', '1') end
end

-- Who begins to wait wakes the scheduler; who joins others that wait is seen when it looks again by itself.
local function demand(target)
  if redis.call('SADD', P .. 'demand', target) == 1 then wake() end
end

-- Whether one more call of this function may run: 'ok', or whose limit says no ('reserved', 'account').
-- Returns also whether the call is counted against the unreserved rest of the account.
local function admit(ident, reserved, account_limit)
  if reserved then
    if number(redis.call('HGET', P .. 'running', ident)) >= number(reserved) then return 'reserved', '0' end
    return 'ok', '0'
  end
  local rest = account_limit - number(redis.call('HGET', P .. 'reserved', '*'))
  if number(redis.call('HGET', P .. 'running', '*')) >= rest then return 'account', '1' end
  return 'ok', '1'
end

local function count(ident, shared, by)
  if redis.call('HINCRBY', P .. 'running', ident, by) <= 0 then redis.call('HDEL', P .. 'running', ident) end
  if shared == '1' and redis.call('HINCRBY', P .. 'running', '*', by) < 0 then redis.call('HSET', P .. 'running', '*', 0) end
end

local function hold(worker, id, environment, ident, shared, kind, gateway, target)
  redis.call('HSET', P .. 'held:' .. worker, id,
    table.concat({ environment, ident, shared, kind, gateway, target }, '|'))
end

-- End a lease. Returns its parts, or nil where it was not held (its worker was given up in the meantime).
local function release(worker, id)
  local held = redis.call('HGET', P .. 'held:' .. worker, id)
  if not held then return nil end
  redis.call('HDEL', P .. 'held:' .. worker, id)
  local parts = split(held, '|')
  count(parts[2], parts[3], -1)
  return parts
end

-- Put a call that no environment has taken back in front of its queue. Returns whether it was held.
local function requeue(worker, id, message)
  local held = redis.call('HGET', P .. 'held:' .. worker, id)
  if not held then return false end
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
  return true
end

local function live(ident, target)
  local version, revision = target:match(':([^:]+):([^:]+)$')
  return redis.call('HGET', P .. 'fn:' .. ident, 'live:' .. version) == revision
end

-- What an event's message looks like on its way to a worker: `attempt meta \n header \n payload`.
local function event_message(id)
  local event = redis.call('HMGET', P .. 'ev:' .. id, 'message', 'meta', 'attempts')
  if not event[1] then return nil end
  return event[3] .. ' ' .. event[2] .. '\n' .. event[1]
end

-- The next call for a free environment of this target, leased to its worker: who waits first, then events.
-- A synchronous message begins with an empty line where an event has its attempt.
local function next_call(worker, environment, ident, target, account_limit)
  while true do
    local first = redis.call('ZPOPMIN', P .. 'wait:' .. target)
    if #first == 0 then break end
    local id = first[1]
    local raw = redis.call('HGET', P .. 'waitmsg:' .. target, id)
    redis.call('HDEL', P .. 'waitmsg:' .. target, id)
    if raw then
      local head, message = raw:match('^(.-)\n(.*)$')
      local parts = split(head, '|')
      if redis.call('HEXISTS', P .. 'gateways', parts[3]) == 1 then
        hold(worker, id, environment, parts[2], parts[1], 'sync', parts[3], target)
        return '\n' .. message
      end
      count(parts[2], parts[1], -1) -- nobody is left to be answered
    end
  end
  if redis.call('LLEN', P .. 'evq:' .. target) > 0 then
    local said, shared = admit(ident, redis.call('HGET', P .. 'fn:' .. ident, 'reserved'), account_limit)
    while said == 'ok' do
      local id = redis.call('LPOP', P .. 'evq:' .. target)
      if not id then break end
      local message = event_message(id)
      if message then
        count(ident, shared, 1)
        hold(worker, id, environment, ident, shared, 'event', '', target)
        return message
      end
    end
  end
  return nil
end

local function waits(target)
  return redis.call('ZCARD', P .. 'wait:' .. target) + redis.call('LLEN', P .. 'evq:' .. target) > 0
end

-- Put an idle environment's slot back, newest first to be taken. Returns 'idle', or 'retire' where what it runs
-- is no longer what is deployed.
local function shelve(worker, environment, ident, target, now_ms)
  if not live(ident, target) then return 'retire' end
  redis.call('ZADD', P .. 'idle:' .. target, now_ms, worker .. '/' .. environment)
  return 'idle'
end

-- Take the newest idle slot. Returns worker and environment, or nil.
local function take_slot(target)
  local slot = redis.call('ZPOPMAX', P .. 'idle:' .. target)
  if #slot == 0 then return nil end
  return slot[1]:match('^(.-)/(.+)$')
end

-- Count what an operator must be able to see of events: see demand.py.
local function tally(name, by) redis.call('HINCRBY', P .. 'eventcounts', name, by or 1) end

-- How many bytes a dead event takes.
local function event_bytes(id)
  return redis.call('HSTRLEN', P .. 'ev:' .. id, 'message') + redis.call('HSTRLEN', P .. 'ev:' .. id, 'response')
end

-- Take an event out of the dead ones of its function. Returns whether it was there.
local function exhume(ident, id)
  if redis.call('LREM', P .. 'dead:' .. ident, 1, id) == 0 then return false end
  if redis.call('HINCRBY', P .. 'deadbytes', ident, -event_bytes(id)) <= 0
    or redis.call('EXISTS', P .. 'dead:' .. ident) == 0 then redis.call('HDEL', P .. 'deadbytes', ident) end
  return true
end

-- Remove a dead event that was taken out, unless another delivery of it is still to be made.
local function obliterate(id)
  if number(redis.call('HGET', P .. 'ev:' .. id, 'left')) > 0 then
    redis.call('HDEL', P .. 'ev:' .. id, 'dead')
  else
    redis.call('DEL', P .. 'ev:' .. id)
  end
end

-- Keep a dead event for an operator to look at, bounded: the oldest ones of its function make room, and are counted.
local function inter(ident, id, dead_limit, bytes_limit)
  local dead = P .. 'dead:' .. ident
  redis.call('HSET', P .. 'ev:' .. id, 'dead', '1')
  redis.call('RPUSH', dead, id)
  redis.call('HINCRBY', P .. 'deadbytes', ident, event_bytes(id))
  tally('dead')
  while redis.call('LLEN', dead) > 1 and (redis.call('LLEN', dead) > dead_limit
      or number(redis.call('HGET', P .. 'deadbytes', ident)) > bytes_limit) do
    local oldest = redis.call('LINDEX', dead, 0)
    exhume(ident, oldest)
    obliterate(oldest)
    tally('dead_dropped')
  end
end

-- Put a delivery of an event into the outbox of its destination.
local function post(id, kind, arn)
  redis.call('RPUSH', P .. 'outbox:' .. arn, id .. ' ' .. kind)
  redis.call('SADD', P .. 'outboxes', arn)
  if redis.call('LLEN', P .. 'wake-outbox') == 0 then redis.call('RPUSH', P .. 'wake-outbox', '1') end
end

-- Move a leased or queued event on after an attempt: 'done', 'retry' (due in event time) or 'dead'. Whom its end is
-- told to goes to the outbox in the same step, so an event is never between two places; until all are told it stays
-- in ev:<id> with `ending` and `response`. `ending` is JSON, '' where nobody wants to know of a success.
local function settle(id, action, due_ms, ending, response, dead_limit, bytes_limit)
  local ev = P .. 'ev:' .. id
  local ident = redis.call('HGET', ev, 'ident')
  if not ident then return end
  if action == 'retry' then
    redis.call('HINCRBY', ev, 'attempts', 1)
    redis.call('ZADD', P .. 'delayed', due_ms, id)
    wake()
    return
  end
  redis.call('ZREM', P .. 'expiries', id)
  local deliveries = ending ~= '' and cjson.decode(ending).deliveries or {}
  if #deliveries > 0 then
    redis.call('HSET', ev, 'ending', ending, 'response', response, 'left', #deliveries)
    for _, delivery in ipairs(deliveries) do post(id, delivery[1], delivery[2]) end
  elseif action == 'dead' then
    redis.call('HSET', ev, 'ending', ending)
    inter(ident, id, dead_limit, bytes_limit)
  else
    redis.call('DEL', ev)
  end
end
