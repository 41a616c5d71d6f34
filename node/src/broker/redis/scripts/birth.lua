#!lua
-- Gives a topic without a position its first one, so that a node can wait for what follows (redis.md 1.4, 1.6).
--
-- KEYS head, list; of a map the one key that holds both, the head as its field "#h"
--      (head: "1", mode 1 B, epoch 8 B, mark 4 B, offset in decimal)
-- ARGV mode byte, birth epoch, ttl s
-- Answers {OK, head: the one there is, or the new one}, {MODE, byte of the one it has}, or {CORRUPT}.
local key, mode, ttl = KEYS[1], ARGV[1], ARGV[3]
local stem = string.sub(key, 1, -2)

local function refusal(head)
  if string.sub(head, 1, 1) ~= '1' or not string.find(head, '^%d+$', 15) then return {'CORRUPT'} end
  if tonumber(string.sub(head, 15)) >= 1e14 then return {'CORRUPT'} end
  if string.sub(head, 2, 2) ~= mode then return {'MODE', string.sub(head, 2, 2)} end
end

local head
if mode == 'm' then
  head = redis.call('HGET', key, '#h')
  local other = not head and redis.call('GET', stem .. 'h')
  if other then return refusal(other) or {'CORRUPT'} end
else
  head = redis.call('GET', key)
  if not head and redis.call('EXISTS', stem .. 'k') == 1 then return {'MODE', 'm'} end
end
if head then return refusal(head) or {'OK', head} end

head = '1' .. mode .. ARGV[2] .. '\0\0\0\0' .. '0'
-- Without a head nobody knows the offsets of what is left.
if mode == 'm' then
  redis.call('DEL', key)
  redis.call('HSET', key, '#h', head)
  redis.call('EXPIRE', key, ttl)
else
  redis.call('DEL', KEYS[2])
  redis.call('SET', key, head, 'EX', ttl)
end
return {'OK', head}
