-- queues/visibility.lua: change for how long received messages are invisible, of any queues of the partition.
--
-- KEYS[1]  prefix of the partition
-- ARGV     for each: now_ms (event time) · ident · incarnation · place · number of the receive · visible again at
-- Reads    queue:<ident>, qstate
-- Writes   qflight; where it is visible at once qready (FIFO: qorder, qgroups, qlocks); arrivals of who waits
-- Returns  for each: ok, missing (no such message), visible (nobody holds it), gone, foreign
-- Atomic   each change is whole

local results, arrived = {}, {}
for at = 1, #ARGV, 6 do
  local now_ms, ident, incarnation = tonumber(ARGV[at]), ARGV[at + 1], ARGV[at + 2]
  local place, receive = ARGV[at + 3], ARGV[at + 4]
  local visible_at = tonumber(ARGV[at + 5])
  local queue = redis.call('HMGET', name('queue', ident), 'incarnation', 'fifo')
  local result = 'ok'
  if queue[1] ~= incarnation then
    result = queue[1] and 'foreign' or 'gone'
  else
    local state = redis.call('HGET', name('qstate', ident), place)
    local held_until = redis.call('ZSCORE', name('qflight', ident), place)
    if not state then
      result = 'missing'
    elseif not held_until or tonumber(held_until) <= now_ms or parse_state(state) ~= tonumber(receive) then
      result = 'visible'
    elseif visible_at <= now_ms then
      give_back(ident, queue[2] == '1', place)
      arrived[ident] = true
    else
      redis.call('ZADD', name('qflight', ident), visible_at, place)
      if visible_at < tonumber(held_until) then arrived[ident] = true end
    end
  end
  results[#results + 1] = result
end
for ident in pairs(arrived) do arrive(ident) end
return results
