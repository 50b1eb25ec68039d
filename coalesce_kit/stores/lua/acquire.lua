-- token, channel or '', lease, largest body that is answered; then, the last ones left out if they are empty:
-- after, reject, have, '1' if a held lease is not waited for
local key, token, channel, lease, largest = KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local after, reject, have = ARGV[5] or '', ARGV[6] or '', ARGV[7] or ''
local field = redis.call('HMGET', key, 'r', 'f', 's', 'd', 't', 'l', 'w', 'o', 'k', 'y')
local r, f, s, d, t, l, w, o, k, y = unpack(field)

if after ~= '' and o == after and tonumber(y) > now then
  return {'outcome', k, body(key, 'x', false, largest)}
end
if r == reject then
  r = false
end
if r and r == after then
  return {'hit', kept(key, r, f, s, d, have, largest)}
end
local is_usable = r and tonumber(s) > now
if is_usable and tonumber(f) > now and r ~= have then
  return {'hit', kept(key, r, f, s, d, have, largest)}
end
if t and t ~= token and tonumber(l) > now then
  if ARGV[8] == '1' then
    return {'busy'}
  end
  if channel ~= '' and not string.find(w or '', channel, 1, true) then
    redis.pcall('HSET', key, 'w', (w or '') .. channel .. '\n')
  end
  local left = tonumber(l) - now
  if is_usable then
    return {'wait', t, left, kept(key, r, f, s, d, have, largest)}
  end
  return {'wait', t, left}
end
local done = redis.pcall('HSET', key, 't', token, 'l', text(now + lease))
if is_refused(done) then
  return done
end
if w and t ~= token then
  redis.call('HDEL', key, 'w')
end
expire(key, field[3], y, now + lease)
if is_usable then
  return {'won', kept(key, r, f, s, d, have, largest)}
end
return {'won'}
