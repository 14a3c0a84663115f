-- dispatch.lua: give queued events the idle slots of their target.
--
-- An event is queued past an idle slot when a retry falls due, or when a limit kept it from a slot that was free.
--
-- KEYS[1]  prefix of the partition
-- ARGV     target · ident · account concurrency limit
-- Reads    fn:<ident> (reserved), running, reserved
-- Writes   idle:<target>, evq:<target>, inbox:<worker>, held:<worker>, running
-- Returns  how many events were placed
-- Atomic   an event is in exactly one of queued and leased.

local target, ident, account_limit = ARGV[1], ARGV[2], tonumber(ARGV[3])
local reserved = redis.call('HGET', P .. 'fn:' .. ident, 'reserved')
local placed = 0
while redis.call('ZCARD', P .. 'idle:' .. target) > 0 do
  local said, shared = admit(ident, reserved, account_limit)
  if said ~= 'ok' then break end
  local id = redis.call('LPOP', P .. 'evq:' .. target)
  if not id then break end
  local message = event_message(id)
  if message then
    local worker, environment = take_slot(target)
    hold(worker, id, environment, ident, shared, 'event', '', target)
    count(ident, shared, 1)
    redis.call('RPUSH', P .. 'inbox:' .. worker, environment .. '\n' .. message)
    placed = placed + 1
  end
end
return placed
