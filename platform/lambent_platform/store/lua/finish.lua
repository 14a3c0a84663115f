-- finish.lua: end a batch of calls, give back their slots, and take what waits for them.
--
-- KEYS[1]  prefix of the partition
-- ARGV     worker · now_ms (liveness) · account concurrency limit · dead events kept · bytes of them kept
--          · hour (`2026-11-23T10`), then for each call:
--          environment · id · keep (1: the environment can go on) · reply ('' for an event) · action ('' for a
--          synchronous call; done | retry | dead) · due_ms · ending ('' or JSON) · response · billed ms × MB
-- Writes   held, running, replies:<gateway>, meter:<ident>, idle:<target>, and what `settle` of the prelude does
-- Returns  for each call: idle | retire | lost | `> attempt and meta \n header \n payload` (the next call)
-- Atomic   the reply, the settlement, the slot and the next call's lease.

local worker, now_ms, account_limit = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local dead_limit, bytes_limit, hour = tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6]
local results = {}
for at = 7, #ARGV, 9 do
  local environment, id, keep, reply = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  local action, due_ms, ending, response = ARGV[at + 4], ARGV[at + 5], ARGV[at + 6], ARGV[at + 7]
  local billed = ARGV[at + 8]
  local lease = release(worker, id)
  if not lease then
    results[#results + 1] = 'lost'
  else
    local ident, gateway, target = lease[2], lease[5], lease[6]
    redis.call('HINCRBY', P .. 'meter:' .. ident, hour .. ':requests', 1)
    redis.call('HINCRBY', P .. 'meter:' .. ident, hour .. ':ms_mb', billed)
    if action ~= '' then
      settle(id, action, due_ms, ending, response, dead_limit, bytes_limit)
    elseif redis.call('HEXISTS', P .. 'gateways', gateway) == 1 then
      redis.call('RPUSH', P .. 'replies:' .. gateway, reply)
    end
    if keep == '1' then
      local message = next_call(worker, environment, ident, target, account_limit)
      results[#results + 1] = message and ('>' .. message) or shelve(worker, environment, ident, target, now_ms)
    else
      redis.call('HDEL', P .. 'envs:' .. worker, environment)
      if waits(target) then demand(target) end
      results[#results + 1] = 'retire'
    end
  end
end
return results
