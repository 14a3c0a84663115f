-- queues/delete.lua: delete a batch of received messages, of any queues of the partition.
--
-- KEYS[1]  prefix of the partition
-- ARGV     for each: now_ms (event time) · ident · incarnation of the queue · place · number of the receive
-- Reads    queue:<ident>
-- Writes   qmsg, qstate, qflight, qready; FIFO: qlocks, qgroups; arrivals of who waits for the group
-- Returns  for each: ok (deleted, or nothing to delete), expired (FIFO: received by others since, or visible again),
--          gone (no such queue), foreign (a queue of this name, but another one)
-- Atomic   a message is deleted whole, and only under its newest receive

local results, arrived = {}, {}
for at = 1, #ARGV, 5 do
  local now_ms, ident, incarnation = tonumber(ARGV[at]), ARGV[at + 1], ARGV[at + 2]
  local place, receive = ARGV[at + 3], ARGV[at + 4]
  local queue = redis.call('HMGET', name('queue', ident), 'incarnation', 'fifo')
  local result = 'ok'
  if queue[1] ~= incarnation then
    result = queue[1] and 'foreign' or 'gone'
  else
    local fifo = queue[2] == '1'
    local state = redis.call('HGET', name('qstate', ident), place)
    if state then
      local count, _, _, group = parse_state(state)
      local held_until = redis.call('ZSCORE', name('qflight', ident), place)
      local newest = count == tonumber(receive)
      if fifo and not (newest and held_until and tonumber(held_until) > now_ms) then
        result = 'expired'
      elseif newest then
        forget(ident, place)
        if held_until then
          redis.call('ZREM', name('qflight', ident), place)
        else
          redis.call('ZREM', name('qready', ident), place)
        end
        if fifo then
          unlock(ident, group)
          arrived[ident] = true
        end
      end
    end
  end
  results[#results + 1] = result
end
for ident in pairs(arrived) do arrive(ident) end
return results
