-- queues/send.lua: send a batch of messages, to any queues of the partition.
--
-- KEYS[1]  prefix of the partition
-- ARGV     for each message: ident · generation of the queue's record · now_ms (event time) · id · delay_ms ('' for
--          none) · when it was sent first, as its age counts · group · deduplication id ('' for none) · id that makes
--          sending twice sending once ('' for none) · until when that one is remembered · message
-- Reads    queue:<ident>, qdedup
-- Writes   qmsg, and qready (FIFO: qorder, qgroups) or qdelay; qdedup, qdedupdue; arrivals of who waits
-- Returns  for each message: `sent <place> <id>`, with the place and id of the first one for a duplicate; stale where
--          the record has changed; gone where there is no queue
-- Atomic   a message is whole and in exactly one place, or was not sent

local DEDUPLICATION_MS = 300000
local results, arrived = {}, {}
for at = 1, #ARGV, 11 do
  local ident, generation, now_ms, id, delay_ms = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2]), ARGV[at + 3], ARGV[at + 4]
  local sent_ms, group, duplicate, once = ARGV[at + 5], ARGV[at + 6], ARGV[at + 7], ARGV[at + 8]
  local queue = redis.call('HMGET', name('queue', ident), 'gen', 'place', 'fifo')
  if queue[1] ~= generation then
    results[#results + 1] = queue[1] and 'stale' or 'gone'
  else
    local fifo = queue[3] == '1'
    local seen = (once ~= '' and recall(ident, once, now_ms)) or (duplicate ~= '' and recall(ident, duplicate, now_ms))
    if seen then
      results[#results + 1] = 'sent ' .. seen
    else
      local number = next_place(ident, now_ms, tonumber(queue[2]))
      local place = string.format('%016.0f', number)
      redis.call('HSET', name('queue', ident), 'place', place)
      redis.call('HSET', name('qmsg', ident), place, ARGV[at + 10])
      if delay_ms == '' then
        ready(ident, fifo, place, sent_ms, group)
      elseif fifo then
        -- The queue's delay is applied when it is looked at, so that a change of it reaches what waits already.
        redis.call('ZADD', name('qdelay', ident), math.floor(number / 1000), place .. '\1' .. group)
      else
        redis.call('ZADD', name('qdelay', ident), now_ms + tonumber(delay_ms), place)
      end
      forget_ids(ident, now_ms, 8)
      if duplicate ~= '' then remember(ident, duplicate, now_ms + DEDUPLICATION_MS, place .. ' ' .. id) end
      if once ~= '' then remember(ident, once, tonumber(ARGV[at + 9]), place .. ' ' .. id) end
      arrived[ident] = true
      results[#results + 1] = 'sent ' .. place .. ' ' .. id
    end
  end
end
for ident in pairs(arrived) do arrive(ident) end
return results
