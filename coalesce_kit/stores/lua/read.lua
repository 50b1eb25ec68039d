-- have, largest body that is answered
local key = KEYS[1]
local r, f, s, d = unpack(redis.call('HMGET', key, 'r', 'f', 's', 'd'))
if not r or tonumber(s) <= now then
  return {'missing'}
end
return {'kept', kept(key, r, f, s, d, ARGV[1], tonumber(ARGV[2]))}
