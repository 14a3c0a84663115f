-- clock/move.lua: move event time ahead, never back, and tell every process that follows it.
--
-- KEYS[1]  prefix of the partition
-- ARGV     'advance' · by_ms, or 'set' · to_ms (event time) · real_ms, the mover's own time · lease_ms
-- Writes   clock, clockmoves, every clockbox: in one step, so that moves from two sides add up
-- Returns  the offset that there is now, in ms

local before, value, real = offset(), number(ARGV[2]), number(ARGV[3])
local after = ARGV[1] == 'advance' and before + value or value - real
if after > before then
  local text = string.format('%.0f', after)
  redis.call('HSET', P .. 'clock', 'offset_ms', text)
  redis.call('LPUSH', P .. 'clockmoves', string.format('%.0f:%.0f', real + before, real + after))
  redis.call('LTRIM', P .. 'clockmoves', 0, MOVES_KEPT - 1)
  for _, member in ipairs(alive(number(ARGV[4]))) do redis.call('RPUSH', P .. 'clockbox:' .. member, text) end
end
return string.format('%.0f', math.max(before, after))
