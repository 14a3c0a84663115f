-- bury.lua: a worker is gone. Take back everything that it held.
--
-- KEYS[1]  prefix of the partition
-- ARGV     worker · now_ms (liveness) · lease_ms (0: it has signed off itself) · failed reply header maker: code · message
-- Writes   what it never read goes back in front of its queue; calls that it ran are answered with the error;
--          its environments' slots go; its events stay held until the scheduler has settled each (settle.lua)
-- Returns  false where it lives after all, else the ids of the events that it ran: id, `attempt meta \n header \n payload`, …

local worker, now_ms, lease_ms = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local beat = redis.call('ZSCORE', P .. 'beats', worker)
if lease_ms > 0 and beat and tonumber(beat) > now_ms - lease_ms then return false end

redis.call('HDEL', P .. 'workers', worker)
for _, json in ipairs(redis.call('HVALS', P .. 'envs:' .. worker)) do
  local record = cjson.decode(json)
  if record.target ~= '' then
    redis.call('ZREM', P .. 'idle:' .. record.target, worker .. '/' .. record.id)
    if waits(record.target) then demand(record.target) end
  end
end
redis.call('DEL', P .. 'envs:' .. worker)

for _, item in ipairs(redis.call('LRANGE', P .. 'inbox:' .. worker, 0, -1)) do
  local environment, meta, message = item:match('^(%x+)\n(.-)\n(.*)$')
  if environment then
    requeue(worker, cjson.decode(message:match('^(.-)\n'))[1], message)
  end
end
redis.call('DEL', P .. 'inbox:' .. worker)

local events = {}
local held = redis.call('HGETALL', P .. 'held:' .. worker)
for at = 1, #held, 2 do
  local id, lease = held[at], split(held[at + 1], '|')
  if lease[4] == 'event' then
    local message = event_message(id)
    if message then
      events[#events + 1] = id
      events[#events + 1] = message
    else
      release(worker, id)
    end
  else
    release(worker, id)
    if redis.call('HEXISTS', P .. 'gateways', lease[5]) == 1 then
      redis.call('RPUSH', P .. 'replies:' .. lease[5], cjson.encode({ id, '', '', '', ARGV[4] }) .. '\n' .. ARGV[5])
    end
  end
end
if #events == 0 then
  redis.call('ZREM', P .. 'beats', worker)
  redis.call('DEL', P .. 'held:' .. worker)
end
return events
