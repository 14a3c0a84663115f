-- recover.lua: take back calls that a worker holds but has nowhere: the reply that handed them out was lost.
--
-- KEYS[1]  prefix of the partition
-- ARGV     worker · failed reply: code · message · then for each call: id · lease as it was seen
-- Reads    inbox:<worker>: what is still unread there is not lost
-- Writes   held, running; events go back in front of their queue, their messages being in ev:<id>; the message of a
--          synchronous call was in the lost reply alone, so its caller is answered with the error
-- Returns  how many events went back, how many calls were answered
-- Atomic   a lease that has changed since it was seen stays as it is

local worker, code, text = ARGV[1], ARGV[2], ARGV[3]
local unread = {}
for _, item in ipairs(redis.call('LRANGE', P .. 'inbox:' .. worker, 0, -1)) do
  local message = item:match('^%x+\n.-\n(.*)$')
  if message then unread[cjson.decode(message:match('^(.-)\n'))[1]] = true end
end
local requeued, answered = 0, 0
for at = 4, #ARGV, 2 do
  local id = ARGV[at]
  if not unread[id] and redis.call('HGET', P .. 'held:' .. worker, id) == ARGV[at + 1] then
    local lease = release(worker, id)
    local kind, gateway, target = lease[4], lease[5], lease[6]
    if kind == 'event' then
      redis.call('LPUSH', P .. 'evq:' .. target, id)
      requeued = requeued + 1
    else
      if redis.call('HEXISTS', P .. 'gateways', gateway) == 1 then
        redis.call('RPUSH', P .. 'replies:' .. gateway, cjson.encode({ id, '', '', '', code }) .. '\n' .. text)
      end
      answered = answered + 1
    end
    if waits(target) then demand(target) end
  end
end
return { requeued, answered }
