#!lua
-- Appends a batch of publications to a topic's history and tells everybody (redis.md 1.3).
--
-- KEYS head ("1", mode 1 B, epoch 8 B, mark 4 B, offset in decimal),
--      list (items; the last one has the head's offset),
--      idempotency, if the publisher gave one (epoch 8 B, mark 4 B, offset in decimal)
-- ARGV 1 publish command, 2 channel, 3 mode byte, 4 limit of the list (1 or more), 5 list ttl s, 6 head ttl s,
--      7 whether to renew the list's life (1, 0), 8 birth epoch,
--      9 the tip before the batch's first attempt: epoch 8 B, mark 4 B, offset, '?' if nobody knows it, '' if
--      this is the first, 10 idempotency ttl s, 11 mark of the last item,
--      12 what goes first: '' nothing, 'clear' all items, 'before' and epoch 8 B, mark 4 B, offset: the items
--      before that one, 13... the items, 1 to 64 (length 4 B, mark 4 B, message id 16 B, ...)
-- Answers {OK, epoch and offset of the first item}, {DONE, the same, marks} if it is there already,
--      {UNKNOWN} if it was perhaps there and is trimmed, {MODE, byte of the one it has}, {STALE} if the item
--      of 'before' is not there, or {CORRUPT}; only OK has written anything.
local head_key, list, idempotency = KEYS[1], KEYS[2], KEYS[3]
local mode, limit, again, first = ARGV[3], tonumber(ARGV[4]), ARGV[9], ARGV[12]
local count = #ARGV - 12
local function text(number) return string.format('%.0f', number) end

if idempotency then
  local position = redis.call('GET', idempotency)
  if position and not string.find(position, '^%d+$', 13) then return {'CORRUPT'} end
  if position then
    return {'DONE', string.sub(position, 1, 8) .. string.sub(position, 13), string.sub(position, 9, 12)}
  end
end

local head = redis.call('GET', head_key)
local epoch, mark, offset = ARGV[8], '\0\0\0\0', 0
if head then
  if string.sub(head, 1, 1) ~= '1' or not string.find(head, '^%d+$', 15) then return {'CORRUPT'} end
  epoch, mark, offset = string.sub(head, 3, 10), string.sub(head, 11, 14), tonumber(string.sub(head, 15))
  if offset >= 1e14 then return {'CORRUPT'} end
  if string.sub(head, 2, 2) ~= mode then return {'MODE', string.sub(head, 2, 2)} end
elseif redis.call('EXISTS', string.sub(head_key, 1, -2) .. 'k') == 1 then
  return {'MODE', 'm'}
end

-- Nobody knows what became of the first attempt: this one looks for it (redis.md 0.7), behind the place where it was
-- made if this history has that. Another one, after a failover, may hold the batch anywhere.
if again ~= '' then
  local since = string.sub(again, 1, 8) == epoch and tonumber(string.sub(again, 13)) or 0
  local item = since < offset and redis.call('LINDEX', list, since - offset - 1)
  local mark_there = since == offset and mark or item and string.sub(item, 5, 8)
  if mark_there ~= string.sub(again, 9, 12) then since = 0 end
  local items = offset > since and redis.call('LRANGE', list, math.max(since - offset, -1024), -1) or {}
  local mid = string.sub(ARGV[13], 9, 24)
  for at, item in ipairs(items) do
    if string.sub(item, 9, 24) == mid then
      local marks = ''
      for place = at, math.min(at + count - 1, #items) do
        marks = marks .. string.sub(items[place], 5, 8)
      end
      if #marks < 4 * count then return {'UNKNOWN'} end
      return {'DONE', epoch .. text(offset - #items + at), marks}
    end
  end
  if #items < offset - since then return {'UNKNOWN'} end
end

-- Counted from the end, as all indices here: the head says which offset the last item has.
local keep = false
if string.sub(first, 1, 6) == 'before' then
  keep = tonumber(string.sub(first, 19)) - offset - 1
  local is_possible = string.sub(first, 7, 14) == epoch and -offset <= keep and keep < 0
  local item = is_possible and redis.call('LINDEX', list, keep)
  if not item or string.sub(item, 5, 8) ~= string.sub(first, 15, 18) then return {'STALE'} end
end
-- A head that the next commit would refuse is not written.
if offset + count >= 1e14 then return {'CORRUPT'} end

-- Without a head nobody knows the offsets of what the list holds.
if not head or first == 'clear' then
  redis.call('DEL', list)
elseif keep then
  redis.call('LTRIM', list, keep, -1)
end
local length = redis.call('RPUSH', list, unpack(ARGV, 13))
if length > limit + math.floor(limit / 4) + 4 then redis.call('LTRIM', list, -limit, -1) end
redis.call('SET', head_key, '1' .. mode .. epoch .. ARGV[11] .. text(offset + count), 'EX', ARGV[6])
if ARGV[7] == '1' or length == count then redis.call('EXPIRE', list, ARGV[5]) end
if idempotency then
  local position = epoch .. string.sub(ARGV[13], 5, 8) .. text(offset + 1)
  redis.call('SET', idempotency, position, 'EX', ARGV[10])
end
redis.call(ARGV[1], ARGV[2], 'P' .. epoch .. mark .. struct.pack('>I8', offset + 1) .. table.concat(ARGV, '', 13))
return {'OK', epoch .. text(offset + 1)}
