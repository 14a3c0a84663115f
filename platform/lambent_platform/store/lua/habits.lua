-- habits.lua: note when functions are called again, how their calls found them, and when their last call ended.
--
-- KEYS[1]  prefix of the partition
-- ARGV     where the bins of idle times begin, in ms (JSON) · most idle times to keep · shortest pause that counts, ms
--          · then for each: ident · what · from_ms · at_ms (liveness), where what is
--            warm: a call at at_ms found an environment that was idle since from_ms (0: since the last call known)
--            cold: a call at at_ms found none
--            end:  the last running call ended at at_ms
--            init: an init took at_ms
-- Reads    fn:<ident>: nothing is noted of a function that is gone
-- Writes   habits:<ident>: fields `0` … count idle times by bin, warm, cold, last_ms, init_ms
-- Atomic   all counts of a function are halved together where there are too many, so that long ago is forgotten

local edges, most, pause_ms = cjson.decode(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])

local function halve(habits)
  local sum, counts = 0, redis.call('HGETALL', habits)
  for at = 1, #counts, 2 do
    if counts[at]:match('^%d+$') then sum = sum + counts[at + 1] end
  end
  if sum <= most then return end
  for at = 1, #counts, 2 do
    if counts[at] ~= 'last_ms' and counts[at] ~= 'init_ms' then
      redis.call('HSET', habits, counts[at], math.floor(counts[at + 1] / 2))
    end
  end
end

for at = 4, #ARGV, 4 do
  local ident, what, from_ms, at_ms = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  local habits = P .. 'habits:' .. ident
  if redis.call('EXISTS', P .. 'fn:' .. ident) == 1 then
    local last_ms = number(redis.call('HGET', habits, 'last_ms'))
    if what == 'init' then
      redis.call('HSET', habits, 'init_ms', at_ms)
    elseif what == 'end' then
      if at_ms > last_ms then redis.call('HSET', habits, 'last_ms', string.format('%d', at_ms)) end
    else
      -- An environment that is not the newest of several was idle for longer than the function was.
      local since_ms = math.max(from_ms, last_ms)
      local paused = since_ms > 0 and at_ms - since_ms >= pause_ms
      if paused or what == 'cold' then redis.call('HINCRBY', habits, what, 1) end
      if paused then
        local bin = #edges
        while bin > 1 and edges[bin] > at_ms - since_ms do bin = bin - 1 end
        redis.call('HINCRBY', habits, bin - 1, 1)
        halve(habits)
      end
    end
  end
end
return 1
