-- queues/receive.lua: a batch of receives, from any queues of the partition.
--
-- KEYS[1]  prefix of the partition
-- ARGV     most messages in flight · then for each receive:
--          ident · generation · now_ms (event time) · count · visibility_ms · retention_ms · delay_ms · most receives
--          (0 without a dead-letter queue) · where it goes then, as qout has it · id of the attempt ('' for none)
-- Reads    queue:<ident>, qmsg
-- Writes   qready, qdelay, qflight, qstate; FIFO: qorder, qgroups, qlocks; qdedup and qdedupdue for the attempt;
--          qout and outgoing where a message was received too often; qmsg where it is too old or goes out
-- Returns  for each receive { status, next due ('' for none, now_ms where it was too much for one look), went out, then
--          for each message: place, count, first receive, message }; status ok, limit (too many in flight), stale or gone
-- Atomic   a message is handed out by one receive alone, and until its time is over by no other

local flight_max = tonumber(ARGV[1])
local OUT_MAX = 100
local ATTEMPT_MS = 300000

local function take(result, ident, place, sent, group, request)
  local message = redis.call('HGET', name('qmsg', ident), place)
  if not message then return false end
  local count, first = 0, decimal(request.now_ms)
  local state = redis.call('HGET', name('qstate', ident), place)
  if state then
    count, first, sent, group = parse_state(state)
  end
  if request.receives_max > 0 and count >= request.receives_max then
    local out = request.dead_letters .. '\n' .. table.concat({ count, first, decimal(sent), '' }, '|') .. '\n' .. message
    redis.call('HSET', name('qout', ident), place, out)
    redis.call('SADD', P .. 'outgoing', ident)
    forget(ident, place)
    result[3] = result[3] + 1
    return false
  end
  count = count + 1
  redis.call('HSET', name('qstate', ident), place, table.concat({ count, first, decimal(sent), group }, '|'))
  redis.call('ZADD', name('qflight', ident), request.now_ms + request.visibility_ms, place)
  for _, part in ipairs({ place, count, first, message }) do result[#result + 1] = part end
  return true
end

local function take_standard(result, ident, request, room)
  while room > 0 and result[3] < OUT_MAX do
    local found = redis.call('ZRANGE', name('qready', ident), 0, room - 1, 'WITHSCORES')
    if #found == 0 then return end
    for at = 1, #found, 2 do
      redis.call('ZREM', name('qready', ident), found[at])
      if take(result, ident, found[at], tonumber(found[at + 1]), '', request) then room = room - 1 end
    end
  end
end

local function take_fifo(result, ident, request, room)
  while room > 0 and result[3] < OUT_MAX do
    local group = redis.call('ZRANGE', name('qgroups', ident), 0, 0)[1]
    if not group then return end
    local taken = 0
    local order, from, to = name('qorder', ident), '[' .. group .. '\1', '(' .. group .. '\2'
    for _, member in ipairs(redis.call('ZRANGEBYLEX', order, from, to, 'LIMIT', 0, room)) do
      local place = member:sub(-16)
      local sent = redis.call('ZSCORE', name('qready', ident), place .. '\1' .. group)
      unready(ident, true, place .. '\1' .. group)
      if take(result, ident, place, tonumber(sent), group, request) then taken = taken + 1 end
    end
    if taken > 0 then redis.call('HINCRBY', name('qlocks', ident), group, taken) end
    room = room - taken
    offer(ident, group)
  end
end

-- The same attempt again, within its time: what it got before and still holds, for as long as if it were received now.
local function repeat_attempt(result, ident, request, seen)
  for place, count in seen:gmatch('(%d+):(%d+)') do
    local state = redis.call('HGET', name('qstate', ident), place)
    local held = redis.call('ZSCORE', name('qflight', ident), place)
    if state and held then
      local now_count, first = parse_state(state)
      if now_count == tonumber(count) then
        redis.call('ZADD', name('qflight', ident), request.now_ms + request.visibility_ms, place)
        for _, part in ipairs({ place, count, first, redis.call('HGET', name('qmsg', ident), place) }) do
          result[#result + 1] = part
        end
      end
    end
  end
end

local results = {}
for at = 2, #ARGV, 10 do
  local ident, generation, now_ms, attempt = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2]), ARGV[at + 9]
  local request = {
    now_ms = now_ms, count = tonumber(ARGV[at + 3]), visibility_ms = tonumber(ARGV[at + 4]),
    retention_ms = tonumber(ARGV[at + 5]), delay_ms = tonumber(ARGV[at + 6]), receives_max = tonumber(ARGV[at + 7]),
    dead_letters = ARGV[at + 8],
  }
  local result = { 'ok', '', 0 }
  local queue = redis.call('HMGET', name('queue', ident), 'gen', 'fifo')
  if queue[1] ~= generation then
    result[1] = queue[1] and 'stale' or 'gone'
  else
    local fifo = queue[2] == '1'
    promote(ident, fifo, now_ms, request.delay_ms)
    local behind = expire(ident, fifo, now_ms - request.retention_ms)
    local seen = attempt ~= '' and recall(ident, attempt, now_ms)
    if seen then repeat_attempt(result, ident, request, seen) end
    -- Where nothing of it is held any more, it is an attempt like any other.
    if #result == 3 and not behind then
      local room = math.min(request.count, flight_max - redis.call('ZCARD', name('qflight', ident)))
      if room <= 0 then
        result[1] = 'limit'
      elseif fifo then
        take_fifo(result, ident, request, room)
      else
        take_standard(result, ident, request, room)
      end
      if attempt ~= '' and #result > 3 then
        local places = {}
        for n = 4, #result, 4 do places[#places + 1] = result[n] .. ':' .. result[n + 1] end
        remember(ident, attempt, now_ms + ATTEMPT_MS, table.concat(places, ','))
      end
    end
    if behind or result[3] >= OUT_MAX then
      result[2] = decimal(now_ms)
    elseif (#result - 3) / 4 < request.count then
      result[2] = next_due(ident, fifo, request.delay_ms)
    end
  end
  results[#results + 1] = result
end
return results
