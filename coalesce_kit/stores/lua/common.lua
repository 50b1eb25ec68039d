-- Stands before every script. No shebang: with one a full server refuses the whole script, and hits with it.
-- Fields of a record: b body, r version, f fresh until, s usable until, d fetch seconds; t token of the lease,
-- l lease until, w channels that wait for this token; o token, k kind, x body of the last outcome that is not kept;
-- y until when what was published last can be collected. Moments are the server's milliseconds.
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)

-- Numbers above 10^13 lose digits when Lua joins them to a text.
local function text(number)
  return string.format('%.0f', number)
end

-- Whether the server refused a command that was tried with pcall.
local function is_refused(done)
  return type(done) == 'table' and done.err ~= nil
end

-- A message is a row of such frames: bytes of any kind survive.
local function frame(value)
  return #value .. ':' .. value
end

-- Tell every waiting channel. Last in a script, and its refusal changes nothing: who waits has a timer.
local function wake(waiting, message)
  for channel in string.gmatch(waiting or '', '[^\n]+') do
    redis.pcall('PUBLISH', channel, message)
  end
end

-- Have the record end with the last of its uses; a moment that has passed removes it.
local function expire(key, usable_until, collect_until, lease_until)
  local last = math.max(tonumber(usable_until or 0), tonumber(collect_until or 0))
  if lease_until then
    last = math.max(last, lease_until + 60000)
  end
  redis.call('PEXPIREAT', key, text(last))
end

-- A body as it is answered: 'same' if the asker has it, 'large' if a plain HMGET is cheaper, else itself.
local function body(key, field, is_known, largest)
  if is_known then
    return 'same', ''
  end
  if redis.call('HSTRLEN', key, field) > largest then
    return 'large', ''
  end
  return 'here', redis.call('HGET', key, field) or ''
end

-- The result of a record as it is answered.
local function kept(key, version, fresh_until, usable_until, seconds, have, largest)
  local how, bytes = body(key, 'b', version == have, largest)
  local fresh = math.max(tonumber(fresh_until) - now, 0)
  local usable = math.max(tonumber(usable_until) - now, 0)
  return version, fresh, usable, seconds, how, bytes
end
